"""One pass over some heads of one item in blocks of rows: their masks are looked at once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
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
from mha_viz.attention.streamed.workers import Stopped

SPANS = 64  # parts of the rows, at most: progress moves and others get their turn this often
CALLS = 4  # for each core, so that none is idle for long at the end

Masses = dict[int, Tensor]  # [S] by head


@dataclass(frozen=True)
class Call:
    """A part of a pass that one thread or core does alone: one of its spans, for some of its heads."""

    span: int
    heads: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Sweep:
    """A pass over all rows of some heads.

    Attributes:
        operands: The layer.
        item: Index of the batch item.
        size: Rows and columns of the overview at most.
        into: Results by head, which the calls fill in; as `blank` makes them.
        cut: The largest pieces.
        spare: Scratch that no call is using.
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

    def spans(self) -> list[list[tuple[int, int]]]:
        """Return the blocks of rows of each span, as (start, stop)."""
        length, group = self.operands.query.shape[2], self.sides[0]
        blocks = plan.blocks_of_queries(length, group, self.cut.queries, self.cut.avoided)
        step = -(-len(blocks) // SPANS)
        while any(start % group for start, _ in blocks[::step]):  # no two spans share a row of the overview
            step += 1
        return [blocks[i : i + step] for i in range(0, len(blocks), step)]

    def calls(self, places: int, most: int | None = None) -> list[Call]:
        """Return calls that cover the pass, span by span; heads share one, and the look at their mask, if places allow.

        Args:
            places: How many calls run at once.
            most: Heads in a call.
        """
        heads, spans = tuple(self.into), len(self.spans())
        step = max(1, min(most or len(heads), spans * len(heads) // (CALLS * places)))
        return [Call(span, heads[i : i + step]) for span in range(spans) for i in range(0, len(heads), step)]

    def do(self, call: Call, stopped: Stop) -> Masses:
        """Do one call, in any order and any thread.

        Returns:
            Its part of the column mass, to be added up in the order of the spans so that the sums are the same every
            time.

        Raises:
            Stopped: `stopped` returned True.
        """
        blocks = self.spans()[call.span]
        scratch = self.spare.pop() if self.spare else Scratch(self.operands.key)
        found = {head: self.into[head].rows for head in call.heads}
        masses = {head: rows.column_mass.new_zeros(len(rows.column_mass)) for head, rows in found.items() if rows}
        for head, look in self._looks(call.heads, blocks):
            # Room for all keys at once, even where few are seen: growing with each block would ask for fresh memory.
            room = scratch("kept", self.operands.key.shape[2], look.count) if self.keep else None
            kept = None if room is None else room[: sum(map(len, look.tiles))]
            block = _swept(self.operands, (self.item, head), look, self.sides[1], scratch, kept, stopped)
            record(self.into[head], block, self.sides[0])
            statistics = found[head]
            if statistics is not None and kept is not None:
                record_rows(statistics, masses[head], block, kept, look.allowed())
        self.spare.append(scratch)
        return masses

    def _looks(self, heads: Iterable[int], blocks: list[tuple[int, int]]) -> Iterator[tuple[int, Look]]:
        """Yield head and look for each block of rows; heads of one mask come together, to share the look at it."""
        edges = plan.blocks_of_keys(0, self.operands.key.shape[2], self.sides[1])
        for group in self.operands.sight.alike(heads):
            found = looks(self.operands, (self.item, group[0]), blocks, edges, self.sides[0], self.cut)
            for look in found:
                yield from ((head, look) for head in group)
                look.forget()


def _swept(
    operands: Operands, at: tuple[int, int], look: Look, side: int, scratch: Scratch, kept: Tensor | None, stopped: Stop
) -> RowBlock:
    block = RowBlock(operands, at, look, side, scratch)
    for tile, end in zip(look.tiles, accumulate(map(len, look.tiles)), strict=True):
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
    """Return the results of a head after its last call: sums become means, and blocks without a number NaN."""
    starts = torch.arange(found.mean.shape[1], device=found.mean.device) * side
    widths = (keys - starts).clamp(max=side)
    mean = found.mean.div_(widths).div_(found.filled[:, None])  # 0 / 0 is NaN
    return replace(found, mean=mean, largest=found.largest.masked_fill_((found.filled == 0)[:, None], torch.nan))
