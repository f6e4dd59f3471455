"""One pass over some heads of one item in blocks of rows: their masks are looked at once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from mha_viz.attention.streamed import plan
from mha_viz.attention.streamed.look import Look, looks
from mha_viz.attention.streamed.operands import Operands
from mha_viz.attention.streamed.recording import record, record_rows
from mha_viz.attention.streamed.results import HeadPass, RowStatistics
from mha_viz.attention.streamed.row_block import RowBlock, Scratch
from mha_viz.attention.streamed.signals import Stop
from mha_viz.attention.streamed.workers import Stopped, Task

TASKS = 64  # parts of a pass, each for one thread at a time: progress moves and others get their turn this often

Masses = dict[int, Tensor]  # [S] by head


@dataclass(frozen=True, eq=False)
class Sweep:
    """A pass over all rows of some heads.

    Attributes:
        operands: The layer.
        item: Index of the batch item.
        size: Rows and columns of the overview at most.
        into: Results by head, which the tasks fill in; as `blank` makes them.
        cut: The largest pieces.
        spare: Scratch that no task is using.
    """

    operands: Operands
    item: int
    size: int
    into: dict[int, HeadPass]
    cut: plan.Cut
    spare: list[Scratch] = field(default_factory=list)

    @property
    def sides(self) -> tuple[int, int]:
        """How many queries and keys a row and a column of the overview stand for."""
        return plan.side(self.operands.query.shape[2], self.size), plan.side(self.operands.key.shape[2], self.size)

    @property
    def keep(self) -> bool:
        """Whether a block keeps all its powers, as statistics need them."""
        return any(found.rows is not None for found in self.into.values())

    def tasks(self) -> list[Task[Masses]]:
        """Return functions to be called once each, in any order, by any thread.

        Each takes a function that says whether to give up, and then raises `Stopped`. It returns its part of the
        column mass, to be added up in the order of the tasks so that the sums are the same every time.
        """
        return [partial(self._task, blocks) for blocks in self.spans()]

    def spans(self) -> list[list[tuple[int, int]]]:
        """Return the blocks of rows of each task, as (start, stop)."""
        length, group = self.operands.query.shape[2], self.sides[0]
        blocks = plan.blocks_of_queries(length, group, self.cut.queries)
        step = -(-len(blocks) // TASKS)
        while any(start % group for start, _ in blocks[::step]):  # no two tasks share a row of the overview
            step += 1
        return [blocks[i : i + step] for i in range(0, len(blocks), step)]

    def _task(self, blocks: list[tuple[int, int]], stopped: Stop) -> Masses:
        scratch = self.spare.pop() if self.spare else Scratch(self.operands.key)
        masses = {h: f.rows.column_mass.new_zeros(len(f.rows.column_mass)) for h, f in self.into.items() if f.rows}
        for head, look in self._looks(blocks):
            # Room for all keys at once, even where few are seen: growing with each block would ask for fresh memory.
            room = scratch("kept", self.operands.key.shape[2], look.count) if self.keep else None
            kept = None if room is None else room[: sum(map(len, look.tiles))]
            block = _swept(self.operands, (self.item, head), look, self.sides[1], scratch, kept, stopped)
            record(self.into[head], block, self.sides[0])
            statistics = self.into[head].rows
            if statistics is not None and kept is not None:
                record_rows(statistics, masses[head], block, kept, look.allowed())
        self.spare.append(scratch)
        return masses

    def _looks(self, blocks: list[tuple[int, int]]) -> Iterator[tuple[int, Look]]:
        """Yield head and look for each block of rows; heads of one mask come together, to share the look at it."""
        edges = plan.blocks_of_keys(0, self.operands.key.shape[2], self.sides[1])
        for heads in self.operands.sight.alike(self.into):
            found = looks(self.operands, (self.item, heads[0]), blocks, edges, self.sides[0], self.cut)
            for look in found:
                yield from ((head, look) for head in heads)
                look.forget()


def _swept(
    operands: Operands, at: tuple[int, int], look: Look, side: int, scratch: Scratch, kept: Tensor | None, stopped: Stop
) -> RowBlock:
    ends = list(accumulate(map(len, look.tiles)))
    whole = bool(ends) and ends[-1] == operands.key.shape[2]
    block = RowBlock(operands, at, look.rows, side, scratch, whole)
    for tile, end in zip(look.tiles, ends, strict=True):
        if stopped():
            raise Stopped
        block.add(tile, look.hidden(tile), None if kept is None else kept[end - len(tile) : end])
    block.finish()
    return block


def normalisers(
    operands: Operands, at: tuple[int, int], rows: slice, cut: plan.Cut, stopped: Stop
) -> tuple[Tensor, Tensor]:
    """Return what a pass finds for some rows of one head alone: `HeadPass.reference` and `HeadPass.inverse` of these.

    Args:
        operands: The layer.
        at: Item and head.
        rows: From `start` to `stop`.
        cut: The largest pieces.
        stopped: Whether to give up, with `Stopped`.
    """
    starts = range(rows.start, rows.stop, cut.queries)
    spans = [(start, min(start + cut.queries, rows.stop)) for start in starts]
    side, scratch = plan.LEAST_KEYS, Scratch(operands.key)
    edges = plan.blocks_of_keys(0, operands.key.shape[2], side)
    nothing = operands.key.new_empty(0)
    reference, inverse = [nothing], [nothing]
    for look in looks(operands, at, spans, edges, 1, cut) if spans else []:
        block = _swept(operands, at, look, side, scratch, None, stopped)
        reference.append(block.reference)
        inverse.append(block.inverse)
        look.forget()
    return torch.cat(reference), torch.cat(inverse)


def blank(operands: Operands, size: int, *, rows: bool, output: bool) -> HeadPass:
    """Return room for the results of a pass over one head."""
    length, key = operands.query.shape[2], operands.key[0, 0]
    lines, columns = (-(-n // plan.side(n, size)) for n in (length, len(key)))
    return HeadPass(
        largest=key.new_full((lines, columns), -1.0),
        mean=key.new_zeros(lines, columns),
        reference=key.new_zeros(length),
        inverse=key.new_zeros(length),
        filled=key.new_zeros(lines),
        rows=RowStatistics.blank(key, length, output=output) if rows else None,
    )


def complete(found: HeadPass, keys: int, side: int) -> HeadPass:
    """Return the results of a head after its last task: sums become means, and blocks without a number NaN."""
    starts = torch.arange(found.mean.shape[1], device=found.mean.device) * side
    widths = (keys - starts).clamp(max=side)
    mean = found.mean.div_(widths).div_(found.filled[:, None])  # 0 / 0 is NaN
    return replace(found, mean=mean, largest=found.largest.masked_fill_((found.filled == 0)[:, None], torch.nan))
