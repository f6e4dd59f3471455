"""Which tiles of a block of rows are worth computing, and what is masked in them; shared by heads with one mask."""

from __future__ import annotations

import torch
from torch import Tensor

from mha_viz.attention.streamed import plan
from mha_viz.attention.streamed.operands import Operands
from mha_viz.attention.streamed.plan import Tile
from mha_viz.attention.streamed.row_block import Hidden
from mha_viz.attention.streamed.sight import Sight


class Look:
    """What one head sees in a block of rows.

    Attributes:
        rows: Start and stop.
        tiles: What is not wholly masked, in order.
    """

    def __init__(
        self, sight: Sight, at: tuple[int, int], rows: tuple[int, int], tiles: tuple[Tile, ...], device: torch.device
    ) -> None:
        self.tiles = tiles
        self.rows = rows
        self._sight, self._at, self._device = sight, at, device
        self._hidden: dict[Tile, Hidden] = {}

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.rows[1] - self.rows[0]

    def hidden(self, tile: Tile) -> Hidden:
        """Return slices of the tile's keys and what is masked there, bool [keys, rows]; computed once."""
        if tile not in self._hidden:
            query = torch.arange(*self.rows, device=self._device)[None, :]
            self._hidden[tile] = [
                (
                    slice(start - tile.start, stop - tile.start),
                    ~self._sight.allowed(*self._at, query, torch.arange(start, stop, device=self._device)[:, None]),
                )
                for start, stop in tile.mixed
            ]
        return self._hidden[tile]

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


def looks(operands: Operands, at: tuple[int, int], blocks: list[tuple[int, int]], side: int, most: int) -> list[Look]:
    """Return a look for each block of rows.

    Args:
        operands: The layer.
        at: Item and head.
        blocks: (start, stop) of each.
        side: Keys in a column of the overview, of which tiles are made.
        most: Keys in a tile.
    """
    sight, device = operands.sight, operands.key.device
    edges = plan.blocks_of_keys(sight.sizes[3] + sight.extra, side)
    ends = torch.tensor(edges)
    starts, stops = torch.tensor(blocks).T
    classes = sight.classes(*at, (starts, stops - 1), (ends[:-1], ends[1:] - 1)).T.tolist()
    return [
        Look(sight, at, rows, plan.tiles(found, edges, most), device)
        for rows, found in zip(blocks, classes, strict=True)
    ]
