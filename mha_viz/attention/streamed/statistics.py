"""Statistics of streamed heads in the words of `attention.stats`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.attention.stats import AttentionStats, HeadStats, Summary
from mha_viz.attention.streamed.results import HeadPass, RowStatistics


@dataclass(frozen=True, eq=False)
class StreamedStats(AttentionStats):
    """Heads of one batch item, with what normalises their rows.

    Attributes:
        log_sum_exp: [L] for each head, natural logarithms of the softmax denominators.
    """

    log_sum_exp: tuple[Tensor, ...]


def of_heads(numbers: Sequence[int], passes: Sequence[HeadPass]) -> StreamedStats:
    """Return the statistics of the heads with these numbers, whose passes found statistics of rows."""
    rows = [found.rows for found in passes if found.rows is not None]
    return StreamedStats(
        tuple(_of_head(head, found) for head, found in zip(numbers, rows, strict=True)),
        _summary(rows),
        tuple(rows),
        tuple(found.log_sum_exp for found in passes),
    )


def _of_head(head: int, rows: RowStatistics) -> HeadStats:
    good = ~rows.row_sum.isnan()
    count = max(1, int(good.sum()))
    choice = good & (rows.allowed > 1)
    looked = choice if bool(choice.any()) else good
    top = rows.top_weights[:, 0].masked_fill(~looked, -1.0)
    query = int(top.argmax())
    entropy, distance = (float(x[good].double().sum()) / count for x in (rows.entropy, rows.distance))
    key = max(0, int(rows.top_keys[query, 0]))
    return HeadStats(head, entropy, distance, max(0.0, float(top[query])), query, key)


def _summary(rows: Sequence[RowStatistics]) -> Summary:
    """Summarise; no weight leaks, since a masked score is never exponentiated."""
    sums = torch.cat([head.row_sum for head in rows])
    good = sums[~sums.isnan()]
    cells = sums.numel() * len(rows[0].column_mass)
    allowed = sum(int(head.allowed.sum(dtype=torch.int64)) for head in rows)
    return Summary(
        masked=1.0 - allowed / cells,
        nan_rows=sums.numel() - good.numel(),
        rows=sums.numel(),
        row_sum_low=float(good.min()) if good.numel() else math.nan,
        row_sum_high=float(good.max()) if good.numel() else math.nan,
        leaked=0.0,
        violations=0,
    )
