"""Which tiles of a block of rows are worth computing, and what is masked in them; shared by heads with one mask."""

from __future__ import annotations

import torch
from torch import Tensor

from mha_viz.attention.streamed import plan
from mha_viz.attention.streamed.operands import Hidden, Operands
from mha_viz.attention.streamed.plan import Tile
from mha_viz.attention.streamed.sight import Sight


class Look:
    """What one head sees in a block of rows.

    Attributes:
        rows: Start and stop.
        tiles: What is not wholly masked, in order.
    """

    def __init__(
        self,
        sight: Sight,
        at: tuple[int, int],
        rows: tuple[int, int],
        tiles: tuple[Tile, ...],
        evaluated: int,
        device: torch.device,
    ) -> None:
        """Take what is looked at, how many cells of the mask to compute at once, and where."""
        self.tiles = tiles
        self.rows = rows
        self._sight, self._at, self._evaluated, self._device = sight, at, evaluated, device
        self._hidden: dict[Tile, Hidden] = {}

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.rows[1] - self.rows[0]

    def hidden(self, tile: Tile) -> Hidden:
        """Return slices of the tile's keys and what is masked there, bool [keys, rows]; computed once."""
        if tile not in self._hidden:
            self._hidden[tile] = [
                (slice(start - tile.start, stop - tile.start), self._masked(start, stop)) for start, stop in tile.mixed
            ]
        return self._hidden[tile]

    def _masked(self, start: int, stop: int) -> Tensor:
        query = torch.arange(*self.rows, device=self._device)[None, :]
        keys = torch.arange(start, stop, device=self._device)[:, None]
        found = torch.empty(stop - start, self.count, dtype=torch.bool, device=self._device)
        step = max(1, self._evaluated // self.count)
        for key, part in zip(keys.split(step), found.split(step), strict=True):
            torch.logical_not(self._sight.allowed(*self._at, query, key), out=part)
        return found

    def allowed(self) -> Tensor:
        """Return how many keys each row may attend to, int64 [rows]."""
        count = torch.full((self.count,), sum(map(len, self.tiles)), device=self._device)
        for tile in self.tiles:
            for _, masked in self.hidden(tile):
                count -= masked.sum(0)
        return count

    def forget(self) -> None:
        """Let go of what was computed."""
        self._hidden.clear()


def looks(
    operands: Operands, at: tuple[int, int], blocks: list[tuple[int, int]], edges: list[int], group: int, cut: plan.Cut
) -> list[Look]:
    """Return looks at blocks of rows, in order; a block becomes several if too many of its cells need the mask.

    Args:
        operands: The layer.
        at: Item and head.
        blocks: (start, stop) of each.
        edges: Of the blocks of keys that tiles are made of.
        group: Rows that stay together unless there are too many, counted from a block's first.
        cut: The largest pieces.
    """
    sight, device = operands.sight, operands.key.device
    ends = torch.tensor(edges)
    starts, stops = torch.tensor(blocks).T
    classes = sight.classes(*at, (starts, stops - 1), (ends[:-1], ends[1:] - 1)).T.tolist()
    found = []
    for rows, kinds in zip(blocks, classes, strict=True):
        tiles = plan.tiles(kinds, edges, cut.keys)
        mixed = sum(last - first for tile in tiles for first, last in tile.mixed)
        found += [
            Look(sight, at, piece, tiles, cut.evaluated, device)
            for piece in plan.pieces(rows, group, cut.masks // max(1, mixed))
        ]
    return found
