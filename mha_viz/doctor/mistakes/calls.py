"""Right masks in a wrong call: their order, batch_first and is_causal."""

from __future__ import annotations

import torch

from mha_viz.doctor.case import Case
from mha_viz.doctor.mistakes.registry import Meant, mistake, padding_of


@mistake(
    "repeat",
    "repeat where repeat_interleave was meant",
    pitfall="P7",
    rule="repeat-order",
    code="padding = torch.arange(S) >= lengths[:, None]\n"
    "causal = torch.ones(L, S, dtype=torch.bool).triu(1)\n"
    "attn_mask = (causal | padding[:, None, :]).repeat(H, 1, 1)",
    intent="causal & padding(6, 4)",
    pads="padding",
)
def _repeat(meant: Meant) -> Case:
    n, h, queries, keys = (size or 1 for size in meant.base.sizes)
    items = meant.attn.expand(n * h, queries, keys)[::h] & padding_of(meant)[:, None, :]
    return meant.base.but(attn_mask=~items.repeat(h, 1, 1))


@mistake(
    "batch-first",
    "batch_first left at its default",
    pitfall="P8",
    rule="batch-first",
    code="key_padding_mask = torch.arange(S) >= lengths[:, None]\nbatch_first = False",
    intent="padding(6, 4)",
)
def _batch_first(meant: Meant) -> Case:
    n, _, queries, _ = (size or 1 for size in meant.base.sizes)
    attn = None if meant.attn.all() else ~meant.attn
    return meant.right.but(attn_mask=attn, query_shape=(n, queries, 64), batch_first=False)


@mistake(
    "hint-alone",
    "is_causal=True and no mask",
    pitfall="P9",
    rule="causal-hint-alone",
    code="is_causal = True",
)
def _hint_alone(meant: Meant) -> Case:
    return meant.right.but(attn_mask=None, is_causal=True)


@mistake(
    "hint-against-mask",
    "is_causal=True beside another mask",
    pitfall="P9",
    rule="causal-hint-against-mask",
    code="q, k = torch.arange(L)[:, None], torch.arange(S)\nattn_mask = (q - k).abs() > 2\nis_causal = True",
    intent="window(2)",
)
def _hint_against_mask(meant: Meant) -> Case:
    return meant.right.but(is_causal=True)


@mistake(
    "mask-and-hint",
    "attn_mask and is_causal=True, for scaled_dot_product_attention",
    pitfall="P10",
    rule="causal-and-mask",
    code="q, k = torch.arange(L)[:, None], torch.arange(S)\nattn_mask = (q - k).abs() <= 2\nis_causal = True",
    intent="causal & window(2)",
    api="sdpa",
)
def _mask_and_hint(meant: Meant) -> Case:
    future = torch.ones(meant.attn.shape[-2:], dtype=torch.bool).triu(1)
    mirrored = meant.attn.mT if meant.attn.shape[-1] == meant.attn.shape[-2] else meant.attn
    return meant.base.but(attn_mask=meant.attn | (mirrored & future), is_causal=True)


@mistake(
    "top-left",
    "is_causal=True with fewer queries than keys",
    pitfall="P11",
    rule="causal-alignment",
    code="is_causal = True  # L queries that continue a cache of S keys",
    intent="causal_bottom_right",
    api="sdpa",
)
def _top_left(meant: Meant) -> Case:
    return meant.base.but(is_causal=True)
