"""Attention over a picture: the weights of one query over the patches of a model of pictures (ViT-like)."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mha_viz.attention.runs import Run, record_of
from mha_viz.errors import InputError
from mha_viz.figures import grammar, states
from mha_viz.figures.grammar import Codes, Floats, Spec
from mha_viz.figures.thumbnail import data_url

OPACITY = 0.55
"""Of the weights, through which the picture is seen."""

MAX_SIDE = 640
"""Longest side of the picture in the figure, in pixels."""

_PATCH = re.compile(r"(\d+),(\d+)")
_COLOURS = [(at, f"rgba{colour[3:-1]},{OPACITY})") for at, colour in grammar.WEIGHT_COLOURS]
_BAR = {"title": {"text": "weight"}, "thickness": 12, "outlinewidth": 0}


@dataclass(frozen=True)
class Grid:
    """Where the patches stand among the keys: `places[k]` is (row, column), or None for a special token."""

    rows: int
    columns: int
    places: tuple[tuple[int, int] | None, ...]


def grid_of(tokens: tuple[str, ...]) -> Grid:
    """Return the grid of patches that tokens called `row,column` make.

    Raises:
        InputError: They are not every patch of a grid, once each.
    """
    found = [_PATCH.fullmatch(token) for token in tokens]
    places = tuple((int(match[1]), int(match[2])) if match else None for match in found)
    patches = [place for place in places if place is not None]
    rows, columns = (max((place[axis] for place in patches), default=-1) + 1 for axis in (0, 1))
    if not patches or len(patches) != rows * columns or len(set(patches)) != len(patches):
        raise InputError(
            "Weights can be drawn over a picture only where each patch of it is a token called row,column."
        )
    return Grid(rows, columns, places)


def patches(
    run: Run, image: Image.Image, *, layer: int = 0, head: int | None = None, query: int = 0, item: int = 0
) -> Spec:
    """Return one query's weights over the picture: each patch tinted by its weight, special tokens in the title.

    Args:
        run: Of a model of pictures, as `pretrained.read_image` returns it.
        image: What the model saw, as `pretrained.seen_image` returns it.
        layer: Index into `run.layers`.
        head: Below H; None for the average over heads.
        query: Below L; a patch is outlined.
        item: Below N.

    Raises:
        ScenarioError: An index is out of bounds.
        InputError: The run's keys are not the patches of a picture.
    """
    record = record_of(run, layer, item=item, head=head or 0, query=query)
    keys = run.key_tokens(item, layer)
    grid = grid_of(keys)
    of_item = record.average[item] if head is None else record.held[item, head]  # [L, S]
    weights: Floats = of_item[query].float().cpu().numpy()
    codes = states.of_average(record, item) if head is None else states.of_head(record, item, head)
    asked = run.query_tokens(item, layer)[query]
    data = [_heat(grid, weights)]
    if codes is not None:
        data.append(_state(grid, codes[query]))
    title = (
        f"{'average of heads' if head is None else record.head_name(head)}, query {asked}{_rest(grid, keys, weights)}"
    )
    return {"data": data, "layout": _layout(grid, image, title, _PATCH.fullmatch(asked))}


def _rest(grid: Grid, keys: tuple[str, ...], weights: Floats) -> str:
    """Return what of the row's weight lies on no patch, in words."""
    special = [k for k, place in enumerate(grid.places) if place is None]
    return "".join(f"; weight on {keys[k]}: {weights[k]:.3g}" for k in special)


def _laid_out(grid: Grid, values: Floats | Codes) -> Any:
    """Return the values [S] of the patches as [rows, columns]."""
    found = np.zeros((grid.rows, grid.columns), dtype=values.dtype)
    for place, value in zip(grid.places, values, strict=True):
        if place is not None:
            found[place] = value
    return found


def _heat(grid: Grid, weights: Floats) -> dict[str, Any]:
    values = _laid_out(grid, weights)
    return {
        "type": "heatmap",
        "z": values,
        "zmin": 0.0,
        "zmax": float(np.nan_to_num(values, nan=0.0).max()) or 1.0,
        "colorscale": _COLOURS,
        "colorbar": _BAR,
        "meta": {"layer": "patches"},
        "hovertemplate": "patch %{y},%{x}<br>weight %{z:.4g}<extra></extra>",
    }


def _state(grid: Grid, codes: Codes) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "z": _laid_out(grid, codes),
        "zmin": -0.5,
        "zmax": grammar.VIOLATION + 0.5,
        "colorscale": grammar.STATE_COLOURSCALE,
        "showscale": False,
        "hoverinfo": "skip",
        "meta": {"layer": "patch states"},
    }


def _layout(grid: Grid, image: Image.Image, title: str, asked: re.Match[str] | None) -> dict[str, Any]:
    small = image.convert("RGB")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    place = {"x": -0.5, "y": -0.5, "sizex": grid.columns, "sizey": grid.rows, "xref": "x", "yref": "y"}
    pixels = np.asarray(small, dtype=np.uint8)
    hidden = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": ""}
    ratio = (image.height / grid.rows) / (image.width / grid.columns)
    return {
        "title": {"text": html.escape(title, quote=False), "font": {"size": 13}},
        "height": 480,
        "margin": {"l": 10, "r": 10, "t": 50, "b": 10},
        "images": [{"source": data_url(pixels), "sizing": "stretch", "layer": "below", **place}],
        "shapes": [] if asked is None else _outline(int(asked[1]), int(asked[2])),
        "xaxis": {"range": [-0.5, grid.columns - 0.5], "constrain": "domain", **hidden},
        "yaxis": {"range": [grid.rows - 0.5, -0.5], "scaleanchor": "x", "scaleratio": ratio, **hidden},
    }


def _outline(row: int, column: int) -> list[dict[str, Any]]:
    """Return a frame around the query's patch, white in black, so that it is seen on any picture."""
    box = {"type": "rect", "x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return [{**box, "line": {"color": colour, "width": width}} for colour, width in (("black", 5), ("white", 2))]
