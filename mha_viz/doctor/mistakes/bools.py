"""Bool masks that say the opposite, or hide the diagonal too."""

from __future__ import annotations

import torch

from mha_viz.doctor.case import Case
from mha_viz.doctor.mistakes.registry import Meant, mistake


@mistake(
    "inverted",
    "True where the query may look",
    pitfall="P1",
    rule="inverted-mask",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).tril()",
)
def _inverted(meant: Meant) -> Case:
    return meant.right.but(attn_mask=meant.attn)


@mistake(
    "inverted-sdpa",
    "True where the query may not look, for scaled_dot_product_attention",
    pitfall="P1",
    rule="inverted-mask",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).triu(1)",
    api="sdpa",
)
def _inverted_sdpa(meant: Meant) -> Case:
    return meant.base.but(attn_mask=~meant.attn)


@mistake(
    "off-by-one",
    "triu() without diagonal=1",
    pitfall="P4",
    rule="diagonal-masked",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).triu()",
)
def _off_by_one(meant: Meant) -> Case:
    own = torch.eye(*meant.attn.shape[-2:], dtype=torch.bool)
    return meant.right.but(attn_mask=~(meant.attn & ~own))
