"""What pictures show of one head of a long sequence: its weights pooled over square blocks, and the blocks' states."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mha_viz.attention.streamed import StreamedAttention
from mha_viz.attention.streamed.signals import Progress, Stop, never, unheard
from mha_viz.figures.grammar import MASKED, NAN, PADDED, Codes, Floats

CELLS = 2**19
"""Blocks in all panels of a picture: at a byte each, what travels before anybody zooms."""
SMALLEST, LARGEST = 128, 512  # blocks along one side of a panel

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Blocks:
    """How [L, S] weights are cut into square blocks.

    Attributes:
        length: L.
        keys: S.
        size: What an overview is asked for; its own blocks are these, or whole parts of them where L and S differ.
        side: Cells along a block, both ways.
    """

    length: int
    keys: int
    size: int
    side: int

    @classmethod
    def of(cls, length: int, keys: int, heads: int) -> Blocks:
        """Return the cut for a picture of so many heads."""
        most = max(SMALLEST, min(LARGEST, math.isqrt(CELLS // heads)))
        for size in range(most, 63, -1):
            small, large = sorted((-(-length // size), -(-keys // size)))
            if large % small == 0:
                break
        return cls(length, keys, size, large)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a panel."""
        return -(-self.length // self.side), -(-self.keys // self.side)

    @property
    def steps(self) -> tuple[int, int]:
        """How many rows and columns of the overview make one of a panel."""
        return self.side // -(-self.length // self.size), self.side // -(-self.keys // self.size)


@dataclass(frozen=True, eq=False)
class HeadPicture:
    """One head of one item.

    Attributes:
        largest: [rows, columns], the largest weight of each block without its NaN rows; NaN where there are no others.
        mean: Likewise the mean.
        bad: bool [L], the rows that are NaN.
        codes: [rows, columns], the states of the blocks; None where all are plain.
    """

    largest: Floats
    mean: Floats
    bad: Bools
    codes: Codes | None

    @property
    def nbytes(self) -> int:
        """Return how many bytes it holds."""
        codes = 0 if self.codes is None else self.codes.nbytes
        return self.largest.nbytes + self.mean.nbytes + self.bad.nbytes + codes


def picture(
    streamed: StreamedAttention,
    blocks: Blocks,
    item: int,
    head: int,
    *,
    stop: Stop = never,
    progress: Progress = unheard,
) -> HeadPicture:
    """Make a pass over one head and return its picture.

    Args:
        streamed: The layer.
        blocks: How its weights are cut.
        item: Batch item.
        head: Head.
        stop: Called some times a second; the pass ends when it returns True.
        progress: Called with the share that is done, from 0 to 1.

    Raises:
        Stopped: `stop` returned True.
        MaskError: The mask divides by zero somewhere.
    """
    streamed.prepare([head], item=item, size=blocks.size, stop=stop, progress=progress)
    largest, mean = (floats(streamed.overview(head, blocks.size, pool, item)) for pool in ("max", "mean"))
    bad = nan_rows(streamed, item, head)
    whole = slice(0, blocks.length), slice(0, blocks.keys)
    return HeadPicture(
        _joined(largest, blocks.steps),
        _joined_mean(mean, bad, blocks),
        bad,
        states(streamed, *whole, blocks.side, item, {head: bad})[head],
    )


def nan_rows(streamed: StreamedAttention, item: int, head: int) -> Bools:
    """Return which rows of a head that was passed over are NaN, [L]."""
    found: Bools = ~np.isfinite(floats(streamed.log_sum_exp(head, item)))
    return found


def states(
    streamed: StreamedAttention, rows: slice, columns: slice, side: int, item: int, bad: Mapping[int, Bools]
) -> dict[int, Codes | None]:
    """Return the states of the blocks of some rows and columns for some heads, None for a head whose are all plain.

    A block is masked only if all of it is, and NaN if any of its rows is. Heads with the same share one array.

    Args:
        streamed: The layer.
        rows: Queries, starting at a multiple of `side`.
        columns: Keys, likewise.
        side: Cells along a block.
        item: Batch item.
        bad: For each of the heads, which of all L rows are NaN.
    """
    found: dict[int, Codes | None] = {}
    hidden: Codes | None = None
    for head, rows_of_head in bad.items():
        if hidden is None or streamed.by_head:
            hidden = _hidden(streamed, rows, columns, side, item, head)
        own = rows_of_head[rows]
        if own.any():
            marked = hidden.copy()
            marked[np.logical_or.reduceat(own, np.arange(0, len(own), side))] = NAN
            found[head] = marked
        else:
            found[head] = hidden if hidden.any() else None
    return found


def _hidden(streamed: StreamedAttention, rows: slice, columns: slice, side: int, item: int, head: int) -> Codes:
    """Return which mask hides all of each block, where any does."""

    def hidden(rows: slice, columns: slice, side: int) -> tuple[Bools, Bools]:
        mask, padding = streamed.hidden(rows, columns, side=side, item=item, head=head)
        return mask.cpu().numpy(), padding.cpu().numpy()

    by_mask, by_padding = hidden(rows, columns, side)
    found: Codes = by_mask * np.uint8(MASKED) + by_padding * np.uint8(PADDED)  # both together are BOTH
    padded = hidden(slice(rows.start, rows.start + 1), columns, 1)[1][0]
    first = int(padded.argmax())
    block = first // side
    if padded.any() and first % side and padded[first : (block + 1) * side].all():
        # Half padding: it is hidden if the mask hides the other half.
        real = slice(columns.start + block * side, columns.start + first)
        found[hidden(rows, real, side)[0][:, 0], block] = MASKED
    return found


def states_of_average(found: Sequence[Codes | None]) -> Codes | None:
    """Return the states of the average of heads: masked where every head is, NaN where any is; None if all plain."""
    there = [each for each in found if each is not None]
    if not there:
        return None
    least = there[0] if len(there) == len(found) else np.zeros_like(there[0])
    bad = np.zeros(least.shape, dtype=bool)
    for each in there:
        least, bad = np.minimum(least, each), bad | (each == NAN)
    joined = np.where(bad, np.uint8(NAN), least)
    return joined if joined.any() else None


def floats(found: Tensor) -> Floats:
    """Return a tensor as a float32 array."""
    array: Floats = found.float().cpu().numpy()
    return array


def _joined(largest: Floats, steps: tuple[int, int]) -> Floats:
    """Return the largest of so many rows and columns together."""
    for axis, step in enumerate(steps):
        if step > 1:
            largest = np.fmax.reduceat(largest, np.arange(0, largest.shape[axis], step), axis=axis)
    return largest


def _joined_mean(mean: Floats, bad: Bools, blocks: Blocks) -> Floats:
    """Return the mean of so many rows and columns together, each counted by the cells that it stands for."""
    down, across = blocks.steps
    if across > 1:
        width = -(-blocks.keys // blocks.size)
        starts = np.arange(0, blocks.keys, width)
        count = np.minimum(width, blocks.keys - starts).astype(np.float32)
        at = np.arange(0, len(starts), across)
        mean = (np.add.reduceat(mean * count, at, axis=1) / np.add.reduceat(count, at)).astype(np.float32)
    if down > 1:
        lines = -(-blocks.length // blocks.size)
        good = np.add.reduceat((~bad).astype(np.float32), np.arange(0, blocks.length, lines))
        at = np.arange(0, len(good), down)
        total = np.add.reduceat(np.nan_to_num(mean) * good[:, None], at, axis=0)
        with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as in an overview
            mean = (total / np.add.reduceat(good, at)[:, None]).astype(np.float32)
    return mean
