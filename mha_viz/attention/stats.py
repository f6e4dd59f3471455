"""Numbers that describe weights: for each head, and for the caption line under a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mha_viz.attention.records import LayerAttention

if TYPE_CHECKING:
    from mha_viz.attention.streamed.results import RowStatistics


@dataclass(frozen=True)
class HeadStats:
    """One head of one batch item, over the rows that hold no NaN.

    Attributes:
        head: Index of the head.
        entropy: Mean over queries of -sum(w · log2 w), in bits; 0 looks at one key, log2(S) at all alike.
        distance: Mean over queries of sum(w · |q - k|), in tokens; extra columns count nothing.
        largest: The largest weight, among rows that may attend to more than one key where there are any.
        query: Its row.
        key: Its column.
    """

    head: int
    entropy: float
    distance: float
    largest: float
    query: int
    key: int


@dataclass(frozen=True)
class Summary:
    """What the caption line says of one batch item, over all its heads.

    Attributes:
        masked: Share of cells that the masks hide.
        nan_rows: Rows (head, query) with a NaN.
        rows: Rows in all, H · L.
        row_sum_low: Smallest sum of a row without NaN; NaN if there is none.
        row_sum_high: Largest such sum.
        leaked: Sum of the weights on masked cells, divided by the number of rows without NaN.
        violations: Masked cells whose weight is more than 0.
    """

    masked: float
    nan_rows: int
    rows: int
    row_sum_low: float
    row_sum_high: float
    leaked: float
    violations: int


@dataclass(frozen=True, eq=False)
class AttentionStats:
    """One batch item of one layer.

    Attributes:
        heads: Means of each head and its largest weight.
        summary: Of all heads together.
        rows: The statistics of each row, one for each head.
    """

    heads: tuple[HeadStats, ...]
    summary: Summary
    rows: tuple[RowStatistics, ...]


def head_stats(layer: LayerAttention, item: int = 0) -> list[HeadStats]:
    """Return the statistics of each head of one batch item."""
    if layer.streamed is not None:
        return list(layer.streamed.stats(item).heads)
    weights = layer.weights[item].float()  # [H, L, S]
    _, length, keys = weights.shape
    good = ~weights.sum(dim=-1).isnan()  # [H, L]
    rows = good.sum(dim=-1).clamp(min=1)
    clean = weights if bool(good.all()) else weights.masked_fill(~good[..., None], 0.0)
    entropy = torch.special.entr(clean).sum(dim=(1, 2)) / math.log(2.0) / rows
    distance = (clean * distances(length, keys, len(layer.extra_keys)).to(clean.device)).sum(dim=(1, 2)) / rows
    choice = good & (of_item(layer.allowed, item).sum(dim=-1) > 1)  # [H, L]
    looked = torch.where(choice.any(dim=-1, keepdim=True), choice, good)
    largest, keys_at = clean.max(dim=-1)  # [H, L]
    top, queries_at = largest.masked_fill(~looked, -1.0).max(dim=-1)  # [H]
    numbers = (entropy, distance, top.clamp(min=0.0), queries_at, keys_at.gather(1, queries_at[:, None])[:, 0])
    return [HeadStats(h, *values) for h, values in enumerate(zip(*(n.tolist() for n in numbers), strict=True))]


def distances(length: int, keys: int, extra: int) -> Tensor:
    """Return |q - k| as floats [L, S], 0 in the last `extra` columns."""
    away = (torch.arange(length)[:, None] - torch.arange(keys)[None, :]).abs().float()  # [L, S]
    away[:, keys - extra :] = 0.0
    return away


def summarise(layer: LayerAttention, item: int = 0) -> Summary:
    """Return the caption numbers of one batch item."""
    if layer.streamed is not None:
        return layer.streamed.stats(item).summary
    weights = layer.weights[item].float()  # [H, L, S]
    allowed = of_item(layer.allowed, item)  # [H|1, L, S]
    all_sums = weights.sum(dim=-1)  # [H, L]
    bad = all_sums.isnan()
    sums = all_sums[~bad]
    leaks = torch.where(allowed | bad[..., None], 0.0, weights) if not allowed.all() else weights.new_zeros(1)
    return Summary(
        masked=1.0 - float(allowed.float().mean()),
        nan_rows=int(bad.sum()),
        rows=bad.numel(),
        row_sum_low=float(sums.min()) if sums.numel() else math.nan,
        row_sum_high=float(sums.max()) if sums.numel() else math.nan,
        leaked=float(leaks.sum()) / max(1, sums.numel()),
        violations=int((leaks > 0).sum()),
    )


def largest_in(layer: LayerAttention, item: int, head: int, query: int, key: int, side: int) -> tuple[int, int]:
    """Return (query, key) of the largest weight in the block of `side` × `side` cells that starts at a cell.

    A block that starts outside [L, S] gives the last cell inside.
    """
    length, keys = layer.weights.shape[2:]
    query, key = min(query, length - 1), min(key, keys - 1)
    block = layer.window(head, slice(query, query + side), slice(key, key + side), item).float().nan_to_num(nan=-1.0)
    at = int(block.argmax())
    return query + at // block.shape[1], key + at % block.shape[1]


def of_item(allowed: Tensor, item: int) -> Tensor:
    """Return the [H|1, L|1, S|1] part of a tensor broadcastable to [N, H, L, S] that belongs to one batch item."""
    return allowed[item if allowed.shape[0] > 1 else 0]
