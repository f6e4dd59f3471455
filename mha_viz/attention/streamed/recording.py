"""What a finished block of rows adds to the results of its head."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d

from mha_viz.attention.streamed.largest import largest_keys
from mha_viz.attention.streamed.results import HeadPass, RowStatistics
from mha_viz.attention.streamed.row_block import RowBlock


def record(into: HeadPass, block: RowBlock, side: int) -> None:
    """Write the normalisers of a block of rows, and add its part of the overviews.

    Args:
        into: The results of its head; `mean` holds sums until the pass is over.
        block: Finished.
        side: Queries in a row of the overview; the block holds whole ones, or a part of one.
    """
    start, stop = block.rows
    into.reference[start:stop], into.inverse[start:stop] = block.reference, block.inverse
    tops, sums, inverse = block.tops, block.sums, block.inverse
    if not bool(block.good.all()):
        tops, sums = (x.masked_fill(~block.good, fill) for x, fill in ((tops, -1.0), (sums, 0.0)))
        inverse = inverse.where(block.good, 0.0)
    lines = slice(start // side, -(-stop // side))
    line = torch.arange(start, stop, device=sums.device) // side - lines.start
    group = torch.zeros(block.count, lines.stop - lines.start, dtype=sums.dtype, device=sums.device)
    group[torch.arange(block.count, device=sums.device), line] = inverse
    into.mean[lines] += (sums @ group).T
    into.filled[lines].index_add_(0, line, block.good.to(into.filled.dtype))
    largest = max_pool1d(tops[None], min(side, block.count), ceil_mode=True)[0].T  # [lines, columns]
    into.largest[lines] = torch.maximum(into.largest[lines], largest)


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
