"""Weights that are all held, answering what streamed ones answer: windows, rows, overviews and statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mha_viz.attention import stats, windows
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.streamed.results import TOP_KEYS, RowStatistics


@dataclass(frozen=True, eq=False)
class HeldAttention:
    """One layer's weights, as the module returned them."""

    layer: LayerAttention

    def window(self, head: int, rows: slice, cols: slice, item: int = 0) -> Tensor:
        """Return the weights of some queries and keys, [rows, cols]; slices count as for a list, with a step of 1."""
        wanted, keys = (windows.resolved(part, n) for part, n in zip((rows, cols), self.layer.shape[2:], strict=True))
        return self._of(head, item)[wanted, keys]

    def overview(self, head: int, size: int = 512, pool: Literal["max", "mean"] = "max", item: int = 0) -> Tensor:
        """Return one head's weights pooled over blocks of ceil(L / size) × ceil(S / size) cells, without NaN rows."""
        windows.check_pool(pool)
        windows.check_size(size)
        weights = self._of(head, item)
        sides = [-(-n // size) for n in weights.shape]
        good = ~weights.sum(dim=-1, keepdim=True).isnan()
        seen = good.expand_as(weights)
        if pool == "max":
            found = _blocks(weights.masked_fill(~seen, -torch.inf), sides, -math.inf).amax(dim=(1, 3))
            return found.masked_fill(found == -torch.inf, torch.nan)
        exact = torch.float64 if weights.dtype == torch.float64 else torch.float32  # float16 counts to 65,504
        total = _blocks(weights.masked_fill(~seen, 0.0), sides, 0.0).sum(dim=(1, 3), dtype=exact)
        count = _blocks(seen, sides, False).sum(dim=(1, 3), dtype=exact)
        return (total / count).to(weights.dtype)  # 0 / 0 is NaN

    def stats(self, item: int = 0) -> stats.AttentionStats:
        """Return the statistics of all heads and of each of their rows."""
        heads = range(self.layer.shape[1])
        rows = tuple(self._rows(head, item) for head in heads)
        return stats.AttentionStats(tuple(stats.head_stats(self.layer, item)), stats.summarise(self.layer, item), rows)

    def _of(self, head: int, item: int) -> Tensor:
        n, heads, _, _ = self.layer.shape
        windows.check_index("item", item, n)
        windows.check_index("head", head, heads)
        return self.layer.weights[item, head]

    def _rows(self, head: int, item: int) -> RowStatistics:
        weights = self._of(head, item)
        length, keys = weights.shape
        weights = weights if weights.dtype == torch.float64 else weights.float()
        sums = weights.sum(dim=-1)
        away = stats.distances(length, keys, len(self.layer.extra_keys)).to(weights)
        clean = weights.masked_fill(sums.isnan()[:, None], 0.0)
        top, at = weights.topk(min(TOP_KEYS, keys), dim=-1)
        allowed = stats.of_item(self.layer.allowed, item)
        of_head = allowed[head if allowed.shape[0] > 1 else 0].expand(length, keys)
        return RowStatistics(
            entropy=torch.special.entr(weights).sum(dim=-1) / math.log(2.0),
            distance=(weights * away).sum(dim=-1),
            row_sum=sums,
            allowed=of_head.sum(dim=-1, dtype=torch.int32),
            column_mass=clean.sum(dim=0),
            top_keys=at.masked_fill(~(top > 0), -1).to(torch.int32),
            top_weights=top,
            output=None,
        )


def _blocks(values: Tensor, sides: list[int], fill: float) -> Tensor:
    """Return [rows, side, columns, side] of values [L, S], filled up at the ends."""
    (down, across), (length, keys) = sides, values.shape
    padded = torch.nn.functional.pad(values, (0, -keys % across, 0, -length % down), value=fill)
    return padded.view(padded.shape[0] // down, down, padded.shape[1] // across, across)
