"""The weights of a rectangle of queries and keys: each cell, or blocks of cells as their maximum or mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mha_viz.attention.streamed import plan
from mha_viz.attention.streamed.fastest import cut_for
from mha_viz.attention.streamed.lines import Lines
from mha_viz.attention.streamed.look import Look, looks
from mha_viz.attention.streamed.operands import BITS, MASKED_SCORE, Operands
from mha_viz.attention.streamed.row_block import Scratch, pool
from mha_viz.attention.streamed.signals import Stop
from mha_viz.attention.streamed.workers import Stopped, Task, in_order

CELLS = 2**18  # exact weights that one thread computes at once
LEAST_ROWS = 128  # of a block of rows, where they are shared out to threads
COLUMNS = 2**19  # maxima or sums that one thread holds at once, one for each row and column of the picture


# Item, head, rows, whether to give up -> `HeadPass.reference` and `HeadPass.inverse` of these rows.
Normalisers = Callable[[int, int, slice, Stop], tuple[Tensor, Tensor]]


class Patch(NamedTuple):
    """What a block of rows adds to one head of a pooled region.

    Attributes:
        which: Index among the heads.
        lines: Rows of the region.
        values: [lines, columns], largest weights or sums of weights.
        filled: [lines], how many rows without NaN they are of.
    """

    which: int
    lines: slice
    values: Tensor
    filled: Tensor


@dataclass(frozen=True, eq=False)
class Region:
    """A rectangle of some heads of one item.

    Attributes:
        operands: The layer.
        normalisers: What makes weights of its scores.
        item: Index of the batch item.
        heads: Indices of the heads.
        rows: Queries from `start` to `stop`.
        cols: Keys likewise.
        spare: Scratch that no task is using.
    """

    operands: Operands
    normalisers: Normalisers
    item: int
    heads: Sequence[int]
    rows: slice
    cols: slice
    spare: list[Scratch] = field(default_factory=list)

    @property
    def sizes(self) -> tuple[int, int]:
        """How many queries and keys there are."""
        return self.rows.stop - self.rows.start, self.cols.stop - self.cols.start

    @torch.no_grad()
    def exact(self, threads: int, stop: Stop) -> Tensor:
        """Return its weights, [heads, rows, cols]; rows that see no key are NaN."""
        length, keys = self.sizes
        found = self.operands.key.new_empty(len(self.heads), length, keys)
        spans = plan.blocks_of_queries(length, 1, max(1, CELLS // max(1, keys)))
        tasks = [partial(self._write, found, index, span) for index in range(len(self.heads)) for span in spans]
        list(in_order(tasks, threads, stop))
        return found

    def _write(self, found: Tensor, index: int, span: tuple[int, int], stopped: Stop) -> None:
        head, rows = self.heads[index], slice(*self._queries(span))
        reference, inverse = self.normalisers(self.item, head, rows, stopped)
        scores = self.operands.block(self.item, head, rows, self.cols)
        powers = scores.sub_(reference[:, None]).mul_(BITS).exp2_()
        torch.mul(powers, inverse[:, None], out=found[index, slice(*span)])

    @torch.no_grad()
    def pooled(self, side: int, how: str, threads: int, stop: Stop) -> Tensor:
        """Return the "max" or "mean" of blocks of `side` × `side` cells, counted from the first row and column."""
        found = self.operands.key.new_empty(len(self.heads), *(plan.side(size, side) for size in self.sizes))
        tasks = self._tasks(side, how == "mean", threads) if found.numel() else []
        starts = torch.arange(self.cols.start, self.cols.stop, side, device=found.device)
        widths = (self.cols.stop - starts).clamp(max=side) if how == "mean" else None
        return _together(found, in_order(tasks, threads, stop), widths)

    def _tasks(self, side: int, mean: bool, threads: int) -> list[Task[list[Patch]]]:
        length, keys = self.sizes
        cut = cut_for(self.operands.key)
        share = max(LEAST_ROWS, -(-length // (4 * threads)))
        room = max(1, COLUMNS // plan.side(keys, side))
        spans = plan.blocks_of_queries(length, side, min(cut.queries, share, room))
        edges = plan.blocks_of_keys(self.cols.start, self.cols.stop, side)
        queries = [self._queries(span) for span in spans]
        return [
            partial(self._patches, indices, look, side, mean)
            for indices in self.operands.sight.alike(range(len(self.heads)))
            for look in looks(self.operands, (self.item, self.heads[indices[0]]), queries, edges, side, cut)
        ]

    def _patches(self, indices: list[int], look: Look, side: int, mean: bool, stopped: Stop) -> list[Patch]:
        scratch = self.spare.pop() if self.spare else Scratch(self.operands.key)
        found = [self._patch(index, look, side, mean, scratch, stopped) for index in indices]
        look.forget()
        self.spare.append(scratch)
        return found

    def _patch(self, index: int, look: Look, side: int, mean: bool, scratch: Scratch, stopped: Stop) -> Patch:
        reference, inverse = self.normalisers(self.item, self.heads[index], slice(*look.rows), stopped)
        columns = scratch("columns", plan.side(self.sizes[1], side), look.count).fill_(0.0 if mean else MASKED_SCORE)
        for tile in look.tiles:
            if stopped():
                raise Stopped
            scores = self.operands.tile(self.item, self.heads[index], look.rows, tile, look.hidden(tile))
            if mean:
                scores.sub_(reference).mul_(BITS).exp2_()
            first, last = tile.start - self.cols.start, tile.stop - self.cols.start
            pool(scores, side, torch.sum if mean else torch.amax, columns[first // side : -(-last // side)])
        first, last = (query - self.rows.start for query in look.rows)
        lines = Lines((first, last), side, inverse.isfinite())
        if mean:
            values = lines.sums(columns, inverse)
        else:  # the largest score has the largest weight, so only one cell of each block is exponentiated
            values = lines.largest(columns.sub_(reference).mul_(BITS).exp2_().mul_(inverse))
        return Patch(index, lines.place, values, lines.filled(inverse.dtype))

    def _queries(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return rows counted from the first one as queries."""
        return self.rows.start + span[0], self.rows.start + span[1]


def _together(found: Tensor, patches: Iterable[list[Patch]], widths: Tensor | None) -> Tensor:
    """Write patches to a region, in their order.

    Args:
        found: [heads, lines, columns], anything.
        patches: Those of all its rows.
        widths: [columns], how many keys each column stands for, where the patches are sums; None for the largest.
    """
    found.fill_(-1.0 if widths is None else 0.0)
    filled = found.new_zeros(found.shape[:2])
    for which, lines, values, rows in (patch for some in patches for patch in some):
        there = found[which, lines]
        there.copy_(torch.maximum(there, values) if widths is None else there + values)
        filled[which, lines] += rows
    if widths is None:
        return found.masked_fill_((filled == 0)[..., None], torch.nan)
    return found.div_(widths).div_(filled[..., None])  # 0 / 0 is NaN
