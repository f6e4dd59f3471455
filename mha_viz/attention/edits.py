"""Edits of what goes into a layer, as text: `q_weight[0, 3] = 1.5; mask[*, *, 2, 1] = hide; head[1] = off`.

| statement | what it does |
|---|---|
| `query[n, i, d] = 1.5` | one number of an input; likewise `key[n, j, d]` and `value[n, j, d]` |
| `q_weight[row, col] = 1.5` | one number of a projection; likewise `k_weight`, `v_weight` and `out_weight` |
| `mask[n, h, i, j] = hide` | hide key j from query i, or `allow` it; `*` stands for all n, or all h |
| `head[h] = off` | what this head gathers is set to 0 before the heads are put side by side |
| `temperature = 0.5` | divide the scores by it, beside sqrt(D) |

Statements are separated by `;` or line breaks and apply in order. Inputs that are one tensor change together: in
self-attention `query[...]`, `key[...]` and `value[...]` all mean the one input, as `layer(x, x, x)` does. To change
only what becomes of it as a key, change `k_weight`. `allow` adds 0 where -inf stood and leaves a bias as it is.

Nothing is ever evaluated: a text is taken apart by fixed patterns.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mha_viz.errors import ScenarioError

MAX_CHARS = 4_000
INDICES = {
    "query": ("n", "i", "d"),
    "key": ("n", "j", "d"),
    "value": ("n", "j", "d"),
    "q_weight": ("row", "col"),
    "k_weight": ("row", "col"),
    "v_weight": ("row", "col"),
    "out_weight": ("row", "col"),
    "mask": ("n", "h", "i", "j"),
    "head": ("h",),
    "temperature": (),
}
"""What can be edited, and the indices that it takes."""

_WORDS = {"mask": {"hide": True, "allow": False}, "head": {"off": True}}
_STARRED = {("mask", "n"), ("mask", "h")}
_STATEMENT = re.compile(r"(\w+)\s*(?:\[([^\[\]]*)\])?\s*=\s*([^\s=]+)", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,4})?", re.IGNORECASE)
_INDEX = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Edit:
    """One statement.

    Attributes:
        name: What it changes, a key of `INDICES`.
        index: Where; None stands for all.
        value: The new number, or for `mask` and `head` whether it is hidden, or off.
    """

    name: str
    index: tuple[int | None, ...]
    value: float | bool

    def __str__(self) -> str:
        place = ", ".join("*" if i is None else str(i) for i in self.index)
        words = {told: word for word, told in _WORDS.get(self.name, {}).items()}
        value = words[bool(self.value)] if words else repr(float(self.value)).removesuffix(".0")
        return f"{self.name}[{place}] = {value}" if self.index else f"{self.name} = {value}"


@dataclass(frozen=True)
class Edits:
    """Statements in order; `str()` is their canonical text, which reads back as equal edits."""

    statements: tuple[Edit, ...] = ()

    def __str__(self) -> str:
        return "; ".join(map(str, self.statements))


def parse(text: str | Edits) -> Edits:
    """Read edits; what is already read comes back as it is, and a text without statements is no edit.

    Raises:
        ScenarioError: The text cannot be read; the sentence says what may be written.
    """
    if isinstance(text, Edits):
        return text
    if len(text) > MAX_CHARS:
        raise _error(f"edits must have at most {MAX_CHARS:,} characters, not {len(text):,}.")
    return Edits(tuple(_edit(part.strip()) for part in re.split(r"[;\n]", text) if part.strip()))


def form(name: str) -> str:
    """Return how a statement of this name is written, such as `head[h] = off`."""
    place = f"[{', '.join(INDICES[name])}]" if INDICES[name] else ""
    return f"{name}{place} = {' or '.join(_WORDS.get(name, ['a finite number']))}"


def _edit(text: str) -> Edit:
    found = _STATEMENT.fullmatch(text)
    name = found[1] if found else ""
    if found is None or name not in INDICES:
        names = ", ".join(INDICES)
        raise _error(f"edits must be statements such as '{form('head')}' about one of {names}, not {text[:60]!r}.")
    index = [_index(name, part.strip(), place) for part, place in _parts(found[2], name, text)]
    return Edit(name, tuple(index), _value(name, found[3], text))


def _parts(written: str | None, name: str, text: str) -> list[tuple[str, str]]:
    parts = [] if written is None else written.split(",")
    if len(parts) != len(INDICES[name]):
        raise _misspelt(name, text)
    return list(zip(parts, INDICES[name], strict=True))


def _index(name: str, part: str, place: str) -> int | None:
    if part == "*" and (name, place) in _STARRED:
        return None
    if _INDEX.fullmatch(part):
        return int(part)
    allowed = "a whole number from 0 or *" if (name, place) in _STARRED else "a whole number from 0"
    raise _error(f"edits: {place} in {form(name)} must be {allowed}, not {part[:40]!r}.")


def _value(name: str, word: str, text: str) -> float | bool:
    if name in _WORDS:
        if word not in _WORDS[name]:
            raise _misspelt(name, text)
        return _WORDS[name][word]
    word = word.replace("−", "-")
    value = float(word) if _NUMBER.fullmatch(word) else math.nan
    if not math.isfinite(value):
        raise _misspelt(name, text)
    if name == "temperature" and value <= 0:
        raise _error(f"edits: temperature must be more than 0, not {word[:40]}.")
    return value


def _misspelt(name: str, text: str) -> ScenarioError:
    return _error(f"edits: {name} must be written {form(name)}, not {text[:60]!r}.")


def _error(message: str) -> ScenarioError:
    return ScenarioError(message, field="edits")
