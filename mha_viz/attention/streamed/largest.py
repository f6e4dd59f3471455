"""The largest keys of each row, found through the blocks that hold them."""

from __future__ import annotations

import torch
from torch import Tensor

from mha_viz.attention.streamed.row_block import RowBlock, pool

GROUP = 8
"""Blocks whose largest are looked at first: to choose from all at once takes twice as long."""


def largest_keys(block: RowBlock, held: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` keys of each row with the largest weights, and these: two tensors [rows, count].

    They lie in the `count` blocks of keys with the largest maximum, so that only those are looked through. A key is -1
    where no more weights are above 0, and all are in a row that is NaN.

    Args:
        block: Finished.
        held: The powers of all its tiles, [keys, rows], one after the other.
        count: At most S.
    """
    if not block.parts:
        nothing = held.new_full((block.count, count), torch.nan)
        return torch.full(nothing.shape, -1, device=held.device), nothing
    side, keys = block.side, block.operands.key.shape[2]
    chosen = _largest(block.tops, min(count, len(block.tops)))  # [blocks, rows]
    steps = torch.arange(side, device=held.device)[None, :, None]
    key = (chosen[:, None] * side + steps).flatten(0, 1)  # [candidates, rows]
    place = (_places(block)[chosen][:, None] + steps).flatten(0, 1)
    there = (place >= 0) & (key < keys)
    powers = held.gather(0, place.clamp(0, len(held) - 1)).masked_fill_(~there, 0.0)
    found = powers.topk(count, dim=0)
    weights = found.values * block.inverse
    return key.gather(0, found.indices).masked_fill_(~(weights > 0), -1).T, weights.T


def _largest(tops: Tensor, count: int) -> Tensor:
    """Return where the `count` largest of each column of [blocks, rows] are, in any order."""
    if len(tops) <= GROUP * count:
        return tops.topk(count, dim=0, sorted=False).indices
    groups = tops.new_empty(-(-len(tops) // GROUP), tops.shape[1])
    pool(tops, GROUP, torch.amax, groups)
    steps = torch.arange(GROUP, device=tops.device)[None, :, None]
    block = (groups.topk(count, dim=0, sorted=False).indices[:, None] * GROUP + steps).flatten(0, 1)
    found = tops.gather(0, block.clamp(max=len(tops) - 1)).masked_fill_(block >= len(tops), -1.0)
    return block.gather(0, found.topk(count, dim=0, sorted=False).indices)


def _places(block: RowBlock) -> Tensor:
    """Return where each block of keys starts among the powers that are held; far below 0 if it was skipped."""
    places = torch.full((len(block.tops),), -block.operands.key.shape[2] - block.side, device=block.tops.device)
    offset = 0
    for part in block.parts:
        starts = torch.arange(part.columns.stop - part.columns.start, device=places.device) * block.side
        places[part.columns] = starts + offset
        offset += len(part.tile)
    return places
