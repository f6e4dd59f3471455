"""Large heatmaps made small without losing a single large weight: each cell shows the largest of a block.

A figure carries at most `MAX_CELLS` cells in all its panels. What is pooled says so (`layout["meta"]["pool"]`).
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mha_viz.figures.grammar import MASKED, NAN, VIOLATION, Codes, Floats

MAX_CELLS = 4_000_000

T = TypeVar("T", np.float32, np.uint8)


def factor(cells: int, most: int | None = None) -> int:
    """Return the side of the blocks that bring so many cells down to `most`, or `MAX_CELLS`; 1 keeps them all."""
    return max(1, math.ceil(math.sqrt(cells / (most or MAX_CELLS))))


def largest(values: Floats, side: int) -> Floats:
    """Return the largest value of each block of [L, S], NaN only where a block holds nothing else."""
    return _folded(np.fmax, values, side)


def farthest(values: Floats, side: int) -> Floats:
    """Return the number of each block that is farthest from 0; infinities count only where there is nothing else."""
    finite = np.where(np.isinf(values), np.float32(np.nan), values)
    most, least = largest(finite, side), -largest(-finite, side)
    found = np.where(np.abs(least) > np.abs(most), least, most)
    shown: Floats = np.where(np.isnan(found), largest(values, side), found)
    return shown


def worst(codes: Codes, side: int) -> Codes:
    """Return one code for each block: violated or NaN if any cell is, masked only if every cell is."""
    hidden = _folded(np.minimum, codes, side)  # plain cells are 0, so this is plain if any cell of the block is
    top = _folded(np.maximum, codes, side)
    assert MASKED < NAN < VIOLATION
    return np.where(top >= NAN, top, hidden)


def labels(tokens: tuple[str, ...], side: int) -> tuple[str, ...]:
    """Return a label for each block of tokens: its first and its last."""
    if side == 1:
        return tokens
    starts = range(0, len(tokens), side)
    return tuple(f"{tokens[i]} … {tokens[min(i + side, len(tokens)) - 1]}" for i in starts)


def _folded(how: np.ufunc, array: NDArray[T], side: int) -> NDArray[T]:
    """Reduce each block to one number: whole rows first and then columns, since NumPy takes blocks one by one."""
    for axis in (0, 1):
        lines = np.moveaxis(array, axis, 0)
        found = lines[::side].copy(order="K")
        for offset in range(1, side):
            following = lines[offset::side]
            how(found[: len(following)], following, out=found[: len(following)])
        array = np.moveaxis(found, 0, axis)
    return array
