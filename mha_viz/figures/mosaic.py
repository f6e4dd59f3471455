"""All layers and heads of a run at a glance: one small picture each, laid out as one mosaic, a row for each layer.

The mosaic is a single heatmap, however many pictures there are. `layout["meta"]["mosaic"]` says where they lie, and
`layer_at` turns a clicked cell into the layer and the head.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mha_viz.attention.runs import Run
from mha_viz.attention.windows import check_index
from mha_viz.figures import grammar
from mha_viz.figures.grammar import Floats, Scale, Spec
from mha_viz.figures.pooling import MAX_CELLS
from mha_viz.figures.tiles import side, tiles

SIZE = 48
"""Most cells of a small picture in each direction."""

GROUND = "rgb(127,127,127)"
"""What lies between the pictures: neutral on a light and on a dark page."""

OUTLINE = (("rgb(0,0,0)", 5), ("rgb(255,255,255)", 2))
"""Colour and width in pixels of the lines around the picture that is open: one of them shows on any cell."""

_SMALLEST = 4
_WIDE = 640  # px that the mosaic has about, beside its labels
_HIGH = 560
_NARROWEST = 0.6  # of the figure's width, so that few heads still show on a phone
_NAME = 24


def layers(run: Run, *, item: int = 0, size: int = SIZE, scale: Scale = "shared") -> Spec:
    """Return a mosaic of all layers (rows) and heads (columns) of one batch item.

    Args:
        run: The run to draw; its layers may differ in H, L and S.
        item: Batch item, below every layer's N.
        size: Most cells of each small picture in each direction; beyond that a cell is the largest of a block. With
            very many pictures they get fewer.
        scale: What a colour means, as in the other figures.

    Raises:
        ScenarioError: `item` is out of bounds.
    """
    items = min(layer.weights.shape[0] for layer in run.layers)
    check_index("item", item, items)
    heads = max(layer.weights.shape[1] for layer in run.layers)
    size = max(_SMALLEST, min(size, math.isqrt(MAX_CELLS // (heads * len(run.layers))) - 2))
    height, width = (_side(run, axis, size) for axis in (2, 3))
    made = [tiles(layer, item, (height, width), by_row=scale == "per row") for layer in run.layers]
    exact = np.concatenate([weights for weights, _, _ in made])  # [tiles, height, width]
    shown, low, high, bar = grammar.scaled(np.concatenate([values for _, values, _ in made]), scale)
    mosaic = _geometry(run, height, width)
    weights: Spec = {
        "type": "heatmap",
        "z": _laid(mosaic, shown, np.nan),
        "zmin": low,
        "zmax": high,
        "colorscale": grammar.WEIGHT_COLOURS,
        "colorbar": {"thickness": 12, "outlinewidth": 0, "x": _share(mosaic) + 0.02, **bar},
        "name": "layers and heads",
        "meta": {"layer": "weights", "panel": 0},
        "hoverinfo": "skip",
        **({} if scale == "shared" else {"customdata": _laid(mosaic, exact, np.nan)}),
    }
    state = {
        "type": "heatmap",
        "z": _laid(mosaic, np.concatenate([codes for _, _, codes in made]), 0),
        "zmin": -0.5,
        "zmax": grammar.VIOLATION + 0.5,
        "colorscale": grammar.STATE_COLOURSCALE,
        "showscale": False,
        "hoverinfo": "skip",
        "meta": {"layer": "state", "panel": 0},
    }
    return {"data": [weights, state, _names(run, mosaic, exact)], "layout": _layout(run, mosaic)}


def layer_at(meta: Mapping[str, Any], row: int, column: int) -> tuple[int, int] | None:
    """Return the layer and the head, as indices into the run, that a cell of the mosaic belongs to.

    Args:
        meta: The figure's `layout["meta"]`.
        row: Of the cell, from the top.
        column: Of the cell, from the left.

    Returns:
        None between the pictures and outside them.
    """
    mosaic = meta["mosaic"]
    (layer, down), (head, across) = divmod(row, mosaic["row_pitch"]), divmod(column, mosaic["column_pitch"])
    if not (0 <= layer < len(mosaic["heads"]) and 0 <= head < mosaic["heads"][layer]):
        return None
    return (layer, head) if down < mosaic["height"] and across < mosaic["width"] else None


def outlined(spec: Spec, layer: int, head: int) -> Spec:
    """Return the mosaic with one of its pictures outlined; the spec given stays as it is."""
    mosaic = spec["layout"]["meta"]["mosaic"]
    left, top = head * mosaic["column_pitch"] - 0.5, layer * mosaic["row_pitch"] - 0.5
    box = {"type": "rect", "x0": left, "x1": left + mosaic["width"], "y0": top, "y1": top + mosaic["height"]}
    lines = [{**box, "line": {"color": colour, "width": width}} for colour, width in OUTLINE]
    return {**spec, "layout": {**spec["layout"], "shapes": [*spec["layout"]["shapes"], *lines]}}


def _side(run: Run, axis: int, size: int) -> int:
    """Return how many cells a picture has in one direction: whole ones for each token where all layers have as many."""
    counts = {layer.weights.shape[axis] for layer in run.layers}
    return side(counts.pop(), size) if len(counts) == 1 else size


def _geometry(run: Run, height: int, width: int) -> dict[str, Any]:
    """Return where the pictures lie, in cells, and what they are called."""
    return {
        "height": height,
        "width": width,
        "row_pitch": height + max(1, height // 24),
        "column_pitch": width + max(1, width // 24),
        "heads": [layer.weights.shape[1] for layer in run.layers],
        "layer_names": [layer.name for layer in run.layers],
        "head_names": [[layer.head_name(head) for head in range(layer.weights.shape[1])] for layer in run.layers],
    }


def _extent(mosaic: Mapping[str, Any]) -> tuple[int, int]:
    """Return the rows and columns of the whole mosaic: no gap stands after the last picture."""
    rows = len(mosaic["heads"]) * mosaic["row_pitch"] - (mosaic["row_pitch"] - mosaic["height"])
    columns = max(mosaic["heads"]) * mosaic["column_pitch"] - (mosaic["column_pitch"] - mosaic["width"])
    return rows, columns


def _laid(mosaic: Mapping[str, Any], pictures: Any, ground: float) -> Any:
    """Return the mosaic of pictures [tiles, height, width], in their number format."""
    whole = np.full(_extent(mosaic), ground, dtype=pictures.dtype)
    places = ((layer, head) for layer, heads in enumerate(mosaic["heads"]) for head in range(heads))
    for (layer, head), picture in zip(places, pictures, strict=True):
        top, left = layer * mosaic["row_pitch"], head * mosaic["column_pitch"]
        whole[top : top + mosaic["height"], left : left + mosaic["width"]] = picture
    return whole


def _centres(count: int, pitch: int, length: int) -> list[float]:
    return [place * pitch + (length - 1) / 2 for place in range(count)]


def _names(run: Run, mosaic: Mapping[str, Any], exact: Floats) -> Spec:
    """Return an unseen point in each picture that says on hover which it is; its axis names the heads at the top."""
    rows = _centres(len(run.layers), mosaic["row_pitch"], mosaic["height"])
    columns = _centres(max(mosaic["heads"]), mosaic["column_pitch"], mosaic["width"])
    names = short_names(run)
    largest = np.nan_to_num(exact, nan=0.0).max(axis=(1, 2)).tolist()
    places = [(layer, head) for layer, heads in enumerate(mosaic["heads"]) for head in range(heads)]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [columns[head] for _, head in places],
        "y": [rows[layer] for layer, _ in places],
        "text": [f"{grammar.label(names[layer])}, {mosaic['head_names'][layer][head]}" for layer, head in places],
        "customdata": largest,
        "hovertemplate": "%{text}<br>largest weight %{customdata:.4g}<extra></extra>",
        "marker": {"size": _pixels(mosaic), "opacity": 0},
        "showlegend": False,
        "xaxis": "x2",
    }


def _pixels(mosaic: Mapping[str, Any]) -> int:
    """Return about how high a picture is on the screen."""
    rows, columns = len(mosaic["heads"]), max(mosaic["heads"])
    return int(min(120, max(28, min(_WIDE // columns, _HIGH // rows))))


def _share(mosaic: Mapping[str, Any]) -> float:
    """Return how much of the figure's width the mosaic takes: its pictures are at most a little wider than high."""
    heads = int(max(mosaic["heads"]))
    return min(1.0, max(_NARROWEST, 1.4 * _pixels(mosaic) * heads / _WIDE))


def _layout(run: Run, mosaic: Mapping[str, Any]) -> dict[str, Any]:
    rows, columns = _extent(mosaic)
    names, heads = short_names(run), max(mosaic["heads"])
    across = {
        "tickvals": _centres(heads, mosaic["column_pitch"], mosaic["width"]),
        "ticktext": _head_labels(run),
        "range": [-0.5, columns - 0.5],
        "domain": [0, _share(mosaic)],
        "showgrid": False,
        "zeroline": False,
    }
    return {
        # The rows and columns are no queries and keys: the cursor of the page's other figures is not shown here.
        "meta": {
            "panels": [{"title": "", "xaxis": "x", "yaxis": "y", "rows": "row", "columns": "column"}],
            "columns": 1,
            "pool": 1,
            "mosaic": dict(mosaic),
        },
        "xaxis": {**across, "showticklabels": False, "ticks": ""},
        "xaxis2": {**across, "overlaying": "x", "matches": "x", "side": "top", "title": {"text": "head"}},
        "yaxis": {
            "tickvals": _centres(len(names), mosaic["row_pitch"], mosaic["height"]),
            "ticktext": [grammar.label(name) for name in names],
            "range": [rows - 0.5, -0.5],
            "showgrid": False,
            "zeroline": False,
        },
        "shapes": _ground(mosaic),
        "showlegend": False,
        "hovermode": "closest",
        "margin": {"l": 20 + 7 * max(map(len, names)), "r": 20, "t": 60, "b": 10},
        "height": 70 + _pixels(mosaic) * len(names),
    }


def _head_labels(run: Run) -> list[str]:
    """Return the heads' numbers, where all layers keep the same; else their places from the left."""
    most = max(run.layers, key=lambda layer: layer.weights.shape[1])
    numbers = range(most.weights.shape[1]) if most.heads is None else most.heads
    alike = all(layer.heads == most.heads for layer in run.layers)
    return [str(number) for number in (numbers if alike else range(len(numbers)))]


def short_names(run: Run) -> list[str]:
    """Return the layers' names without the parts that all begin with, numbered where two would be the same."""
    parts = [layer.name.split(".") for layer in run.layers]
    common = 0
    while len(parts) > 1 and all(len(own) > common + 1 and own[common] == parts[0][common] for own in parts):
        common += 1
    names = [".".join(own[common:]) for own in parts]
    if len(set(names)) < len(names):
        names = [f"{place}: {name}" for place, name in enumerate(names)]
    return [name if len(name) <= _NAME else f"…{name[1 - _NAME :]}" for name in names]


def _ground(mosaic: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what covers the gaps, and the places of heads that a layer does not have."""
    rows, columns = _extent(mosaic)
    boxes = []
    for layer in range(1, len(mosaic["heads"])):
        end = layer * mosaic["row_pitch"]
        boxes.append((0, end - (mosaic["row_pitch"] - mosaic["height"]), columns, end))
    for head in range(1, max(mosaic["heads"])):
        end = head * mosaic["column_pitch"]
        boxes.append((end - (mosaic["column_pitch"] - mosaic["width"]), 0, end, rows))
    for layer, heads in enumerate(mosaic["heads"]):
        if heads < max(mosaic["heads"]):
            top = layer * mosaic["row_pitch"]
            boxes.append((heads * mosaic["column_pitch"], top, columns, top + mosaic["height"]))
    return [
        {
            "type": "rect",
            "x0": left - 0.5,
            "x1": right - 0.5,
            "y0": top - 0.5,
            "y1": bottom - 0.5,
            "fillcolor": GROUND,
            "line": {"width": 0},
        }
        for left, top, right, bottom in boxes
    ]
