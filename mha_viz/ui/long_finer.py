"""Finer cells of the pictures of a long sequence, read where the browser has zoomed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from mha_viz.figures import long, long_heads
from mha_viz.figures.grammar import Codes, Floats, Scale
from mha_viz.figures.long import Colours
from mha_viz.figures.long_heads import HeadPicture
from mha_viz.ui.finer import Cells, Finer, digest
from mha_viz.ui.long_results import PICTURES, Layer

MOST_CELLS = 2**30
"""Weights that one look at finer cells may compute, which take about a second."""

Names = tuple[tuple[str, ...], tuple[str, ...]]
"""Of all queries and keys; empty where they are numbers."""


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads exact weights, or smaller blocks of them, and colours them as the picture does.

    Attributes:
        find: Returns the layer: the reader itself holds nothing large, for it outlives its page.
        colours: Those of the picture.
    """

    find: Callable[[], Layer]
    colours: Colours

    def grid(self, heads: Sequence[int], rows: slice, columns: slice, side: int) -> list[Cells | None]:
        """Return the largest weights of smaller blocks of every head.

        It is None for heads that the picture does not show, and for all where it would take too long.
        """
        layer = self.find()
        if _is_too_much(len(heads), rows, columns):
            return [None] * layer.heads
        bad = {head: picture.bad for head, picture in enumerate(PICTURES.known(layer)) if picture and head in heads}
        weights = _largest(layer, list(bad), rows, columns, side)
        codes = long_heads.states(layer.streamed, rows, columns, side, layer.item, bad)
        cells = {
            head: self._cells(layer, weights[place], head, codes[head], rows, side) for place, head in enumerate(bad)
        }
        return [cells.get(head) for head in range(layer.heads)]

    def detail(self, head: int, rows: slice, columns: slice, side: int) -> list[Cells | None]:
        """Return the largest weights of one head, and the means of the average over heads, or None as `grid` does."""
        layer = self.find()
        bad = {other: picture.bad for other, picture in enumerate(PICTURES.known(layer)) if picture}
        if len(bad) < layer.heads or _is_too_much(layer.heads + 1, rows, columns):
            return [None, None]
        codes = long_heads.states(layer.streamed, rows, columns, side, layer.item, bad)
        own = _largest(layer, [head], rows, columns, side)[0]
        mean, logs = _average(layer, rows, columns, side), long.average_colours()
        average = Cells(logs.shown(mean, 0), mean, long_heads.states_of_average(list(codes.values())))
        return [self._cells(layer, own, head, codes[head], rows, side), average]

    def _cells(self, layer: Layer, weights: Floats, head: int, codes: Codes | None, rows: slice, side: int) -> Cells:
        lines = np.arange(rows.start, rows.stop, side) // layer.blocks.side
        return Cells(self.colours.shown(weights, head, lines), weights, codes)


def _is_too_much(heads: int, rows: slice, columns: slice) -> bool:
    """Return whether finer blocks of a part would be nearly another pass, for blocks that are hardly smaller."""
    cells: int = heads * (rows.stop - rows.start) * (columns.stop - columns.start)
    return cells > MOST_CELLS


def _largest(layer: Layer, heads: Sequence[int], rows: slice, columns: slice, side: int) -> Floats:
    return long_heads.floats(layer.streamed.region(heads, rows, columns, side=side, item=layer.item))


def _average(layer: Layer, rows: slice, columns: slice, side: int) -> Floats:
    total: Floats | None = None
    for head in range(layer.heads):  # one after the other: all at once would be many times the picture
        one = layer.streamed.region([head], rows, columns, side=side, pool="mean", item=layer.item)[0]
        total = long_heads.floats(one) if total is None else total + long_heads.floats(one)
    assert total is not None, "a layer has a head"
    return total / np.float32(layer.heads)


def of_grid(find: Callable[[], Layer], found: Sequence[HeadPicture | None], scale: Scale, names: Names) -> Finer:
    """Return where the picture of all heads gets finer cells from.

    Args:
        find: Returns the layer, now and at any later time.
        found: The heads of the picture; None for one that is not computed yet.
        scale: What a colour means.
        names: Of queries and keys.
    """
    there = [head for head, picture in enumerate(found) if picture is not None]
    reader = Reader(find, long.colours(found, scale))
    return _finer(find(), partial(reader.grid, there), names, "grid", scale, there)


def of_detail(find: Callable[[], Layer], found: Sequence[HeadPicture], head: int, scale: Scale, names: Names) -> Finer:
    """Return where the picture of one head and the average gets finer cells from; arguments as `of_grid`."""
    reader = Reader(find, long.colours(found, scale))
    return _finer(find(), partial(reader.detail, head), names, "detail", scale, head)


def _finer(
    layer: Layer, read: Callable[[slice, slice, int], Sequence[Cells | None]], names: Names, *about: object
) -> Finer:
    blocks = layer.blocks
    return Finer(blocks.length, blocks.keys, blocks.side, read, digest((layer.key, layer.item, about)), *names)
