"""One heatmap of a figure, and what is shown of it: all of it or a part, cell by cell or in blocks of cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mha_viz.figures import pooling
from mha_viz.figures.grammar import Codes, Floats

ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Panel:
    """One heatmap.

    Attributes:
        title: What stands above it.
        values: [L, S], what colours show.
        weights: [L, S], what hover says; the same object as `values` where colours show just that.
        codes: [L, S], the states of the cells; None where all are plain.
        low: The value of the first colour.
        high: The value of the last.
        colours: The colour scale.
        bar: Its colour bar, if it has one.
        signed: Whether a block shows its number farthest from 0, and not its largest.
    """

    title: str
    values: Floats
    weights: Floats
    codes: Codes | None
    low: float
    high: float
    colours: list[tuple[float, str]]
    bar: dict[str, Any] | None
    signed: bool = False


def factor(panels: Sequence[Panel], cells: int | None = None) -> int:
    """Return the side of the blocks that bring panels down to so many cells in all, or `pooling.MAX_CELLS`."""
    return pooling.factor(sum(panel.weights.size for panel in panels), cells)


def blocks(panels: Sequence[Panel], side: int, rows: slice = ALL, columns: slice = ALL) -> list[Panel]:
    """Return a part of panels in blocks of `side` × `side` cells.

    States that several panels share are shared by what is returned too: they travel to the browser once.
    """
    if side == 1 and rows == columns == ALL:
        return list(panels)
    states: dict[int, Codes] = {}
    found = []
    for panel in panels:
        codes = panel.codes
        if codes is not None and id(codes) not in states:
            states[id(codes)] = pooling.worst(codes[rows, columns], side)
        pool = pooling.farthest if panel.signed else pooling.largest
        values = pool(panel.values[rows, columns], side)
        weights = values if panel.values is panel.weights else pool(panel.weights[rows, columns], side)
        found.append(replace(panel, values=values, weights=weights, codes=None if codes is None else states[id(codes)]))
    return found
