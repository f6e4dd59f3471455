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


def factor(cells: int) -> int:
    """Return the side of the blocks that bring this many cells down to `MAX_CELLS`; 1 keeps them all."""
    return max(1, math.ceil(math.sqrt(cells / MAX_CELLS)))


def largest(values: Floats, side: int) -> Floats:
    """Return the largest value of each block of [L, S], NaN only where a block holds nothing else."""
    blocks: Floats = np.fmax.reduce(_blocks(values, side, np.float32(-np.inf)), axis=(1, 3))
    return blocks


def farthest(values: Floats, side: int) -> Floats:
    """Return the number of each block that is farthest from 0; infinities count only where there is nothing else."""
    finite = np.where(np.isinf(values), np.float32(np.nan), values)
    most, least = largest(finite, side), -largest(-finite, side)
    found = np.where(np.abs(least) > np.abs(most), least, most)
    shown: Floats = np.where(np.isnan(found), largest(values, side), found)
    return shown


def worst(codes: Codes, side: int) -> Codes:
    """Return one code for each block: violated or NaN if any cell is, masked only if every cell is."""
    blocks = _blocks(codes, side, np.uint8(NAN - 1))
    hidden = blocks.min(axis=(1, 3))  # plain cells are 0, so this is plain if any cell of the block is
    top = blocks.max(axis=(1, 3))
    found: Codes = np.where(top >= NAN, top, hidden).astype(np.uint8)
    assert MASKED < NAN < VIOLATION
    return found


def labels(tokens: tuple[str, ...], side: int) -> tuple[str, ...]:
    """Return a label for each block of tokens: its first and its last."""
    if side == 1:
        return tokens
    starts = range(0, len(tokens), side)
    return tuple(f"{tokens[i]} … {tokens[min(i + side, len(tokens)) - 1]}" for i in starts)


def _blocks(array: NDArray[T], side: int, fill: T) -> NDArray[T]:
    rows, columns = (-(-n // side) for n in array.shape)
    padded = np.full((rows * side, columns * side), fill, dtype=array.dtype)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded.reshape(rows, side, columns, side)
