"""Two pictures of weights side by side, and the difference between them in colours of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mha_viz.attention.compare import Comparison, Selected
from mha_viz.attention.runs import Run
from mha_viz.attention.windows import check_index
from mha_viz.figures import grammar, states
from mha_viz.figures.grammar import BOTH, NAN, PLAIN, Codes, Floats, Scale, Spec
from mha_viz.figures.heads import spec_of
from mha_viz.figures.panel import Panel, factor

MAX_SIDE = 160
"""Cells across one panel: about as many as pixels where three stand beside each other, so that none is lost there."""

DIFFERENCE = "right − left"

SIDE_COLOURS = ("rgb(33,144,141)", "rgb(222,113,86)")


def compared(found: Comparison, *, names: tuple[str, str] = ("left", "right"), scale: Scale = "shared") -> Spec:
    """Return three heatmaps [L, S] with common axes: the left, the right, and `right - left`.

    The difference is centred at 0; a cell is grey there if the masks of both sides hide it and neither has a weight.
    Tokens that are not the same on both sides are both named. Of more than 160 cells a side, each cell shows the
    largest weight of a block, and in the difference the largest change with its sign.

    Args:
        found: What is compared.
        names: Titles of the two sides.
        scale: What a colour means on the two sides; the difference is always of the weights themselves.
    """
    panels = compared_panels(found, names=names, scale=scale)
    side = max(factor(panels), -(-max(found.change.shape) // MAX_SIDE))
    spec = spec_of(_labelled(found), 0, 0, panels, side)
    spec["layout"]["meta"]["panels"][2]["value_title"] = "change"
    return spec


def compared_panels(
    found: Comparison, *, names: tuple[str, str] = ("left", "right"), scale: Scale = "shared"
) -> list[Panel]:
    """Return the panels of `compared`, with all cells."""
    sides = (found.left, found.right)
    weights = np.stack([side.weights.numpy() for side in sides])  # [2, L, S]
    values, low, high, bar = grammar.scaled(weights, scale)
    exact = [weights[0], weights[1]]
    shown = exact if values is weights else [values[0], values[1]]
    codes = [_codes(side) for side in sides]
    panels = [
        Panel(names[i], shown[i], exact[i], codes[i], low, high, grammar.WEIGHT_COLOURS, bar if i else None)
        for i in range(2)
    ]
    change: Floats = found.change.numpy()
    top = found.largest or 1.0
    title = {"title": {"text": "change"}}
    hidden = _of_change(found, codes)
    return [*panels, Panel(DIFFERENCE, change, change, hidden, -top, top, grammar.CHANGE_COLOURS, title, signed=True)]


def rows(found: Comparison, query: int, *, names: tuple[str, str] = ("left", "right"), key: int | None = None) -> Spec:
    """Return one query's weights on both sides as pairs of bars over the keys, with `key` marked.

    Raises:
        ScenarioError: `query` is out of bounds.
    """
    length, keys = found.change.shape
    check_index("query", query, length)
    said = [grammar.label(token) for token in labels(found)[1]]
    step = max(1, -(-keys // 32))
    bars = [
        {
            "type": "bar",
            "name": grammar.label(name),
            "x": list(range(keys)),
            "y": side.weights[query].numpy(),
            "marker": {"color": colour, "line": {"width": 0}},
            "customdata": said,
            "hovertemplate": f"{grammar.label(name)}<br>key %{{x}} %{{customdata}}<br>weight %{{y:.4g}}<extra></extra>",
        }
        for side, name, colour in zip((found.left, found.right), names, SIDE_COLOURS, strict=True)
    ]
    layout = {
        "height": 260,
        "margin": {"l": 50, "r": 10, "t": 30, "b": 60},
        "xaxis": {
            "tickvals": list(range(0, keys, step)),
            "ticktext": said[::step],
            "title": {"text": "key"},
            "showgrid": False,
            "zeroline": False,
            "range": [-0.5, keys - 0.5],
        },
        "yaxis": {"title": {"text": "weight"}, "rangemode": "tozero", "zeroline": False},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "bargap": 0.2,
        "shapes": [] if key is None else [_around(key)],
    }
    return {"data": bars, "layout": layout}


def _around(key: int) -> dict[str, Any]:
    edges = {"x0": key - 0.5, "x1": key + 0.5, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "rect", **edges, "line": {"width": 0}, "fillcolor": "rgba(128,128,128,0.25)", "layer": "below"}


def _labelled(found: Comparison) -> Run:
    """Return the left run with one layer, whose one item has the labels of both sides."""
    queries, keys = labels(found)
    layer = replace(found.left.record, query_tokens=(queries,), key_tokens=(keys,), extra_keys=())
    return replace(found.left.run, layers=(layer,))


def labels(found: Comparison) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what queries and keys are called: tokens that are not the same on both sides are both named."""
    queries = _both(found.left.query_tokens, found.right.query_tokens)
    return queries, _both(found.left.key_tokens, found.right.key_tokens)


def _both(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(a if a == b else f"{a} / {b}" for a, b in zip(left, right, strict=True))


def _codes(side: Selected) -> Codes | None:
    if side.head is None:
        return states.of_average(side.record, side.item)
    return states.of_head(side.record, side.item, side.head)


def _of_change(found: Comparison, codes: list[Codes | None]) -> Codes | None:
    """Return codes [L, S] of the difference: hidden on both sides, by either's mask, or NaN on any."""
    broken, hidden = found.change.isnan().numpy(), found.hidden.numpy()
    if not broken.any() and not hidden.any():
        return None
    by = np.zeros(hidden.shape, dtype=np.uint8)
    for side in codes:
        if side is not None:
            by |= np.where(side <= BOTH, side, np.uint8(PLAIN))
    return np.where(broken, np.uint8(NAN), np.where(hidden, by, np.uint8(PLAIN)))
