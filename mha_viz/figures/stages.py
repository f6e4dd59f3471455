"""Heatmaps of the steps inside a layer: stages of a trace, for one batch item and head.

What the softmax gives is drawn as weights are. Every other stage has numbers of both signs, in colours centred at 0.
`layout["meta"]["panels"]` says what the rows and the columns of each panel are: "query", "key" or "dim". Panels that
share such a name share that axis, whatever their shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mha_viz.attention.stages import Stage
from mha_viz.attention.trace import Trace
from mha_viz.attention.windows import check_index
from mha_viz.errors import ScenarioError
from mha_viz.figures import grammar, pooling, states
from mha_viz.figures.beside import COLUMNS, axis, beside
from mha_viz.figures.grammar import MASKED, NAN, PLAIN, Codes, Floats, Spec
from mha_viz.figures.heads import spec_of
from mha_viz.figures.panel import Panel, blocks, factor

WEIGHTS = ("softmax", "weights")
"""Stages with numbers from 0 up."""

HIDDEN = ("masked", *WEIGHTS)
"""Stages on which the mask has worked."""

CHANGE = "change"
_NUMBERS = {"scores": "score", "scaled": "scaled score", "masked": "masked score", "weights": "weight"}


@dataclass(frozen=True, eq=False)
class _Part:
    """One panel, what its rows and columns are, and what its numbers are called."""

    panel: Panel
    rows: str
    columns: str
    value: str


def stage(trace: Trace, name: str, *, item: int = 0, head: int = 0, changed_from: Trace | None = None) -> Spec:
    """Return a heatmap of one stage, such as `scores` [L, S] or `k` [S, E]; arguments and errors as `stages`."""
    return stages(trace, [name], item=item, head=head, changed_from=changed_from)


def stages(
    trace: Trace, names: Sequence[str], *, item: int = 0, head: int = 0, changed_from: Trace | None = None
) -> Spec:
    """Return heatmaps of stages in one figure.

    Cells that the mask hides are drawn as masked from the stage `masked` on.

    Args:
        trace: The steps.
        names: One stage or more, such as `["scores", "masked", "weights"]`.
        item: Batch item, below N.
        head: Head, below H; stages without heads are the same for all.
        changed_from: Another trace of the same shapes; each stage is followed by its difference to that one.

    Raises:
        ScenarioError: There is no such stage, item or head, or the shapes of the two traces differ.
    """
    parts = []
    for own in map(trace.stage, names):
        parts.append(_part(own, _panel(trace, own, item, head), _NUMBERS.get(own.name, own.name)))
        if changed_from is not None:
            parts.append(_part(own, _change(changed_from, trace, own, item, head), CHANGE))
    side = _side([part.panel for part in parts])
    tokens = {
        "query": pooling.labels(trace.run.query_tokens(item, trace.layer), side),
        "key": pooling.labels(trace.run.key_tokens(item, trace.layer), side),
    }
    spec = beside([_drawn(trace, part, tokens, side) for part in parts])
    spec["layout"]["meta"] = {
        "panels": [_about(part, index) for index, part in enumerate(parts)],
        "query_tokens": list(tokens["query"]),
        "key_tokens": list(tokens["key"]),
        "columns": min(COLUMNS, len(parts)),
        "pool": side,
    }
    return spec


def _part(own: Stage, panel: Panel, value: str) -> _Part:
    rows, columns = ({"L": "query", "S": "key"}.get(letter, "dim") for letter in own.axes[-2:])
    return _Part(panel, rows, columns, value)


def _panel(trace: Trace, own: Stage, item: int, head: int) -> Panel:
    exact = _array(own, item, head)
    codes = _codes(trace, own, exact, item, head)
    if own.name in WEIGHTS:
        _, low, high, bar = grammar.scaled(exact[None], "shared")
        return Panel(own.title, exact, exact, codes, low, high, grammar.WEIGHT_COLOURS, bar)
    return _signed(own.title, exact, codes)


def _change(before: Trace, after: Trace, own: Stage, item: int, head: int) -> Panel:
    """Return the panel of after - before; two equal infinities have not changed."""
    was = before.stage(own.name)
    if was.shape != own.shape:
        shapes = f"{list(was.shape)} and {list(own.shape)}"
        raise ScenarioError(f"Two traces can be compared if their shapes are equal, but {own.name} has {shapes}.")
    old, new = _array(was, item, head), _array(own, item, head)
    with np.errstate(invalid="ignore"):
        moved: Floats = np.where(old == new, np.float32(0), new - old)
    pair = (_codes(trace, own, moved, item, head) for trace in (before, after))
    first, last = (np.zeros(moved.shape, dtype=np.uint8) if codes is None else codes for codes in pair)
    codes = np.where(first == last, last, np.uint8(PLAIN))  # hidden before and after, or NaN
    return _signed(f"change of {own.name}", moved, codes if codes.any() else None)


def _signed(title: str, exact: Floats, codes: Codes | None) -> Panel:
    """Return a panel centred at 0, in which infinities take the colours of the ends."""
    finite = np.isfinite(exact)
    top = float(np.abs(exact[finite]).max(initial=0.0)) or 1.0
    values = exact if finite.all() else np.clip(exact, -top, top)
    return Panel(title, values, exact, codes, -top, top, grammar.CHANGE_COLOURS, {}, signed=True)


def _array(own: Stage, item: int, head: int) -> Floats:
    """Return the [rows, columns] of one item and head."""
    place = (("item", item), ("head", head))[: len(own.axes) - 2]
    for (name, index), end in zip(place, own.shape, strict=False):
        check_index(name, index, end)
    found: Floats = own.tensor[tuple(index for _, index in place)].detach().float().cpu().numpy()
    return found


def _codes(trace: Trace, own: Stage, shown: Floats, item: int, head: int) -> Codes | None:
    """Return which cells are NaN, or masked by the mask as it is after the edits; None where none is."""
    codes = np.zeros(shown.shape, dtype=np.uint8)
    mask = trace.given.mask
    if own.name in HIDDEN and mask is not None:
        minus = (mask.expand(trace.given.shape)[item, head] == -np.inf).cpu().numpy()
        recorded = states.of_mask(trace.run.layers[trace.layer], item, head)
        # What an edit hides, no mask of the run does: it counts for attn_mask.
        codes[minus] = MASKED if recorded is None else np.maximum(recorded, MASKED)[minus]
    codes[np.isnan(shown)] = NAN
    return codes if codes.any() else None


def _side(panels: list[Panel]) -> int:
    """Return the side of the blocks that bring all panels down to what a figure may hold."""
    side = factor(panels)
    while pooling.factor(sum(int(np.prod([-(-n // side) for n in panel.weights.shape])) for panel in panels)) > 1:
        side += 1
    return side


def _drawn(trace: Trace, part: _Part, tokens: dict[str, tuple[str, ...]], side: int) -> Spec:
    """Return a figure of one panel, with the words and labels of its own axes."""
    (panel,) = blocks([part.panel], side)
    named = zip((part.rows, part.columns), part.panel.weights.shape, panel.weights.shape, strict=True)
    rows, columns = ((tokens.get(name) or _numbers(size, side))[:count] for name, size, count in named)
    record = replace(trace.run.layers[trace.layer], query_tokens=(rows,), key_tokens=(columns,), extra_keys=())
    spec = spec_of(replace(trace.run, layers=(record,)), 0, 0, [panel])
    spec["layout"]["yaxis"]["title"], spec["layout"]["xaxis"]["title"] = (
        {"text": _word(name)} for name in (part.rows, part.columns)
    )
    weights = spec["data"][0]
    number = "customdata" if "customdata" in weights else "z"
    where = f"{_word(part.rows)} %{{y}}, {_word(part.columns)} %{{x}}"
    weights["hovertemplate"] = f"{panel.title}<br>{where}<br>{part.value} %{{{number}:.4g}}<extra></extra>"
    return spec


def _numbers(size: int, side: int) -> tuple[str, ...]:
    return pooling.labels(tuple(map(str, range(size))), side)


def _word(name: str) -> str:
    return "dimension" if name == "dim" else name


def _about(part: _Part, index: int) -> dict[str, Any]:
    """Return what the browser needs to know of a panel."""
    axes = {"xaxis": axis("x", index), "yaxis": axis("y", index), "rows": part.rows, "columns": part.columns}
    return {"title": part.panel.title, **axes, "value_title": part.value}
