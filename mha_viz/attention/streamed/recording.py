"""What a finished block of rows adds to the results of its head."""

from __future__ import annotations

import torch
from torch import Tensor

from mha_viz.attention.streamed.largest import largest_keys
from mha_viz.attention.streamed.lines import Lines
from mha_viz.attention.streamed.results import HeadPass, RowStatistics
from mha_viz.attention.streamed.row_block import RowBlock


def record(into: HeadPass, block: RowBlock, side: int) -> None:
    """Write the normalisers of a block of rows, and add its part of the overviews.

    Args:
        into: The results of its head; `mean` holds sums until the pass is over.
        block: Finished; its `sums` are overwritten.
        side: Queries in a row of the overview; the block holds whole ones, or a part of one.
    """
    rows = slice(*block.rows)
    into.reference[rows], into.inverse[rows] = block.reference, block.inverse
    lines = Lines(block.rows, side, block.good)
    into.filled[lines.place] += lines.filled(into.filled.dtype)
    into.mean[lines.place] += lines.sums(block.sums, block.inverse)
    there = into.largest[lines.place]
    torch.maximum(there, lines.largest(block.tops), out=there)


def record_rows(into: RowStatistics, mass: Tensor, block: RowBlock, held: Tensor, allowed: Tensor) -> None:
    """Write the statistics of a block of rows.

    Args:
        into: Those of its head.
        mass: [S], to which the block's share of the column mass is added.
        block: Finished, with its powers.
        held: All of them, [keys, rows], one tile after the other.
        allowed: [rows], keys that the mask allows.
    """
    start, stop = block.rows
    rows = slice(start, stop)
    moment, away, total = (block.sums.new_zeros(block.count) for _ in range(3))
    inverse = block.inverse.where(block.good, 0.0)
    everything = bool(block.good.all())
    for part in block.parts:
        assert part.powers is not None, "statistics need the powers of a block"
        moment += part.moment
        away += part.away
        total += part.total
        powers = part.powers if everything else part.powers.masked_fill(~block.good, 0.0)
        mass[part.tile.start : part.tile.stop] += powers @ inverse
    into.entropy[rows] = -block.inverse.log2() - moment * block.inverse
    into.distance[rows] = away * block.inverse
    into.row_sum[rows] = total * block.inverse
    into.allowed[rows] = allowed.to(torch.int32)
    keys, weights = largest_keys(block, held, into.top_keys.shape[1])
    into.top_keys[rows], into.top_weights[rows] = keys.to(torch.int32), weights
    if into.output is not None:
        into.output[rows] = _output(block)


def _output(block: RowBlock) -> Tensor:
    """Return weights · V of the block's rows, [rows, D]."""
    item, head = block.at
    values = block.operands.value
    assert values is not None, "the pass was asked for an output of a layer without values"
    found = values.new_zeros(block.count, values.shape[-1])
    for part in block.parts:
        assert part.powers is not None, "an output needs the powers of a block"
        found.addmm_(part.powers.T, values[item, head, part.tile.start : part.tile.stop])
    return found * block.inverse[:, None]
