"""Tables of everything that can be set, made from the registries and metadata, so that they cannot drift."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mha_viz import settings
from mha_viz.doctor import RULES
from mha_viz.given import Given
from mha_viz.inputs.synthetic import SOURCES
from mha_viz.masks import PATTERNS
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.ui.inside import Inside
from mha_viz.ui.model_choice import WayIn
from mha_viz.ui.origin import RunFile
from mha_viz.ui.pair import Pair, Place
from mha_viz.ui.view import View

LANGUAGE = (
    ("`b` `h` `q` `k`", "index of the batch item, the head, the query, the key"),
    ("`N` `H` `L` `S`", "how many of them there are"),
    (
        "`(q - k < 3)`, `(k % 4 == 0)`, `(h == 0)`",
        "comparisons of index arithmetic; beside `&`, `|`, `^` in parentheses",
    ),
    ("`&` `|` `^` `~`", "and, or, either-or, not; the words `and`, `or`, `not` work too"),
    ("`alibi`, `-abs(q - k) / 2`", "score biases: numbers added to the scores before the softmax"),
)

KEYS = (
    ("arrow keys", "move the cursor over a figure's cells, once it has the focus"),
    ("Home, End, Page Up, Page Down", "first and last key, ten queries up and down"),
    ("`[` and `]`", "previous and next head"),
    ("Enter or Space", "open the cell: what its weight is made of"),
    ("+ and -, Ctrl and the wheel, or two fingers", "zoom in and out"),
    ("0, or a double click", "reset the zoom"),
    ("Esc", "clear the cursor"),
    ("Space, R, C", "on a mask that can be painted: paint the cell, its row, its column"),
    ("Shift + arrow keys, then Space", "paint a rectangle"),
    ("Ctrl + Z, Ctrl + Shift + Z", "take back a stroke, do it again"),
)


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table; a `|` inside a cell is escaped."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def masks() -> str:
    """Return the table of mask patterns."""
    rows = [(f"`{p.example}`", p.summary) for p in PATTERNS.values()]
    return table(("pattern", "a query may attend to"), rows)


def sources() -> str:
    """Return the table of made-up inputs."""
    return table(("source", "what it makes"), [(f"`{name}`", source.summary) for name, source in SOURCES.items()])


def language() -> str:
    """Return the table of the mask language's parts."""
    return table(("written", "means"), LANGUAGE)


def shortcuts() -> str:
    """Return the table of keys that figures listen to."""
    return table(("key", "does"), KEYS)


def fields(*kinds: type) -> str:
    """Return the table of the settings of some kinds: name, default, what is allowed, help."""
    rows = [
        (f"`{name}`", _default(of, name), _allowed(of, name, about), about.help.replace("\n", " "))
        for of in kinds
        for name, about in settings.metadata(of).items()
    ]
    return table(("setting", "default", "allowed", "meaning"), rows)


def _default(of: type, name: str) -> str:
    value: Any = settings.default_of(of, name)
    return "empty" if value in (None, "") else f"`{value}`"


def _allowed(of: type, name: str, about: settings.Setting) -> str:
    kind, _ = settings.kinds(of)[name]
    if kind is bool:
        return "on, off"
    if about.choices:
        return ", ".join(f"`{choice}`" for choice in about.choices)
    if kind in (int, float):
        return f"{about.low:,} to {about.high:,}"
    return f"text, at most {about.max_chars:,} characters"


def rules() -> str:
    """Return the table of what the doctor finds: rule, severity, title."""
    found = [(f"`{rule.id}`", rule.severity, rule.title) for rule in RULES.values()]
    return table(("rule", "severity", "what it finds"), found)


TABLES: dict[str, Callable[[], str]] = {
    "Masks": masks,
    "The mask language": language,
    "Inputs": sources,
    "Settings": lambda: fields(Scenario),
    "View": lambda: fields(View),
    "Mask given": lambda: fields(Given),
    "Inside": lambda: fields(Inside),
    "Your model": lambda: fields(WayIn, RunFile, Reading),
    "Compare": lambda: fields(Pair, Place),
    "Keys": shortcuts,
    "Rules": rules,
}
