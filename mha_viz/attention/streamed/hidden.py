"""Which blocks of the L × S plane a mask hides from end to end.

The ends of ranges decide most of them. In the others one allowed cell is enough, so a few cells of each are looked at
first; what shows none is cut into smaller blocks, which the ends of ranges often decide, down to single cells.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mha_viz.attention.streamed.sight import ALL, NONE, SOME, Sight
from mha_viz.attention.streamed.signals import Stop
from mha_viz.attention.streamed.workers import Stopped, in_order
from mha_viz.remember import remembered

CELLS = 2**16  # or blocks that are looked at at once: what is computed of them stays in the caches
SAMPLES = (8, 24, 64)  # cells in each direction, looked at one after the other while none is allowed
PARTS = 8  # a block is cut into so many, in each direction
LEAF = 16  # a block of this side is looked through

Ends = tuple[Tensor, Tensor]  # first and last index of blocks, int64


@dataclass(frozen=True, eq=False)
class Search:
    """Looks for allowed cells with the eyes of one head of one item.

    Attributes:
        sight: The mask.
        at: Item and head.
        stopped: Whether to give up, with `Stopped`.
    """

    sight: Sight
    at: tuple[int, int]
    stopped: Stop

    def hidden(self, queries: Ends, keys: Ends, side: int) -> Tensor:
        """Return which blocks of a grid hold no allowed cell, bool [blocks of queries, blocks of keys].

        Args:
            queries: First and last query of each.
            keys: First and last key of each.
            side: Queries and keys in a block at most.
        """
        if side == 1:
            return ~self.sight.allowed(*self.at, queries[0][:, None], keys[0][None, :])
        kinds = self.sight.classes(*self.at, queries, keys).T
        found = kinds == NONE
        i, j = (kinds == SOME).nonzero(as_tuple=True)
        found[i, j] = ~self._seen(torch.stack([queries[0][i], queries[1][i], keys[0][j], keys[1][j]]), side)
        return found

    def _seen(self, blocks: Tensor, side: int) -> Tensor:
        """Return which blocks, given as first and last query and key [4, blocks], hold an allowed cell."""
        seen = torch.zeros(blocks.shape[1], dtype=torch.bool)
        for cells in SAMPLES:
            if 2 * cells <= side:
                self._add(seen, blocks, CELLS // cells**2, partial(self._sampled, cells=cells))
        if side <= LEAF:
            self._add(seen, blocks, CELLS // side**2, partial(self._sampled, cells=side))
        else:
            self._add(seen, blocks, CELLS // PARTS**2, partial(self._searched, side=side))
        return seen

    def _add(self, seen: Tensor, blocks: Tensor, step: int, look: Callable[[Tensor], Tensor]) -> None:
        """Look at the blocks in which nothing has been seen yet, some at a time."""
        for chosen in (~seen).nonzero()[:, 0].split(step):
            if self.stopped():
                raise Stopped
            seen[chosen] = look(blocks[:, chosen])

    def _sampled(self, blocks: Tensor, cells: int) -> Tensor:
        """Return which blocks show an allowed cell in a grid of `cells` × `cells` over them, their corners included."""
        steps = torch.arange(cells)
        first, last, low, high = (end[:, None] for end in blocks)
        query, key = (a + steps * (b - a) // (cells - 1) for a, b in ((first, last), (low, high)))
        return self.sight.allowed(*self.at, query[:, :, None], key[:, None, :]).flatten(1).any(1)

    def _searched(self, blocks: Tensor, side: int) -> Tensor:
        """Return which blocks hold an allowed cell, by cutting each into smaller ones."""
        part = -(-side // PARTS)
        first, last, low, high = (end[:, None] for end in blocks)
        steps = part * torch.arange(PARTS)
        (q0, q1), (k0, k1) = (
            (a + steps, torch.minimum(a + steps + part - 1, b)) for a, b in ((first, last), (low, high))
        )
        there = (q0 <= q1)[:, :, None] & (k0 <= k1)[:, None, :]
        queries, keys = (q0[:, :, None], q1[:, :, None]), (k0[:, None, :], k1[:, None, :])
        kinds = self.sight.kinds(*self.at, queries, keys).masked_fill_(~there, NONE)
        seen = (kinds == ALL).flatten(1).any(1)
        beside = (torch.arange(PARTS) - torch.arange(PARTS)[:, None]) % PARTS
        for turn in range(PARTS):  # a part of each row and column at a time: what is seen need not be looked through
            block, i, j = ((kinds == SOME) & (beside == turn) & ~seen[:, None, None]).nonzero(as_tuple=True)
            smaller = torch.stack([q0[block, i], q1[block, i], k0[block, j], k1[block, j]])
            seen[block[self._seen(smaller, part)]] = True
        return seen


def _key(sight: Sight, at: tuple[int, int], rows: slice, cols: slice, side: int, threads: int, stop: Stop) -> Hashable:
    """Return what the answer depends on: neither on numbers nor, for most masks, on the head."""
    item, head = at
    seen = replace(sight, bias=None), item, head if sight.by_head else 0
    return seen, (rows.start, rows.stop), (cols.start, cols.stop), side


def _bytes(found: tuple[Tensor, Tensor]) -> int:
    return sum(part.nbytes for part in found)


@remembered(8, key=_key, size=_bytes)
def hidden(
    sight: Sight, at: tuple[int, int], rows: slice, cols: slice, side: int, threads: int, stop: Stop
) -> tuple[Tensor, Tensor]:
    """Return which blocks of a rectangle the mask hides from end to end, and which are padding alone.

    Args:
        sight: What is seen.
        at: Item and head.
        rows: Queries, with their ends resolved.
        cols: Keys likewise.
        side: Queries and keys in a block; the last ones may have fewer.
        threads: How many compute at once.
        stop: Called now and then; ends it with `Stopped` when it returns True.

    Returns:
        bool [blocks of queries, blocks of keys] each, shared.
    """
    (first, last), keys = (_blocks(part, side) for part in (rows, cols))
    masked = torch.empty(len(first), len(keys[0]), dtype=torch.bool)
    unpadded = replace(sight, key_lengths=None)
    step = max(1, CELLS // max(1, len(keys[0])))

    def write(start: int, stopped: Stop) -> None:
        lines = slice(start, start + step)
        masked[lines] = Search(unpadded, at, stopped).hidden((first[lines], last[lines]), keys, side)

    list(in_order([partial(write, start) for start in range(0, len(first), step)], threads, stop))
    return masked, _padded(sight, at[0], keys).repeat(len(first), 1)


def _blocks(part: slice, side: int) -> Ends:
    first = torch.arange(part.start, part.stop, side)
    return first, (first + side).clamp(max=part.stop) - 1


def _padded(sight: Sight, item: int, keys: Ends) -> Tensor:
    first, last = keys
    own = sight.sizes[3]
    real = own if sight.key_lengths is None else sight.key_lengths[item]
    return (first >= real) & (last < own)  # an extra key is nobody's padding
