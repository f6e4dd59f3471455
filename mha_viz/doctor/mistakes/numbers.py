"""Masks of numbers: ones and penalties that are added, NaN, and types that torch refuses."""

from __future__ import annotations

import torch

from mha_viz.doctor.case import Case
from mha_viz.doctor.mistakes.registry import Meant, float_mask, float_masks, mistake, padding_of, with_padding

LOWEST = torch.finfo(torch.float32).min


@mistake(
    "float-ones",
    "Ones that should hide, as floats",
    pitfall="P2",
    rule="additive-ones",
    code="attn_mask = torch.triu(torch.ones(L, S), diagonal=1)",
)
def _float_ones(meant: Meant) -> Case:
    return meant.right.but(attn_mask=(~meant.attn).float())


@mistake(
    "float-ones-kept",
    "Ones that should keep, as floats",
    pitfall="P2",
    rule="additive-ones",
    code="attn_mask = torch.tril(torch.ones(L, S))",
)
def _float_ones_kept(meant: Meant) -> Case:
    return meant.right.but(attn_mask=meant.attn.float())


@mistake(
    "float-padding",
    "A padding mask turned into floats",
    pitfall="P2",
    rule="additive-padding",
    code="key_padding_mask = (torch.arange(S) >= lengths[:, None]).float()",
    intent="padding(6, 4)",
    pads="padding",
)
def _float_padding(meant: Meant) -> Case:
    return with_padding(meant, (~padding_of(meant)).float())


@mistake(
    "nan-builder",
    "Zero times minus infinity",
    pitfall="P2",
    rule="nan-in-mask",
    code='attn_mask = torch.triu(torch.ones(L, S), diagonal=1) * float("-inf")',
)
def _nan_builder(meant: Meant) -> Case:
    return meant.right.but(attn_mask=(~meant.attn).float() * -torch.inf)


@mistake(
    "byte-mask",
    "A mask of bytes",
    pitfall="P3",
    rule="integer-mask",
    code="attn_mask = torch.ones(L, S, dtype=torch.uint8).triu(1)",
)
def _byte_mask(meant: Meant) -> Case:
    return meant.right.but(attn_mask=(~meant.attn).to(torch.uint8))


@mistake(
    "float64-mask",
    "A mask from NumPy, in float64",
    pitfall="P3",
    rule="float-dtype",
    code="attn_mask = torch.from_numpy(np.triu(np.full((L, S), -np.inf), 1))",
)
def _float64_mask(meant: Meant) -> Case:
    return meant.base.but(**float_masks(meant, -torch.inf, torch.float64))


@mistake(
    "lowest-number",
    "finfo.min in place of -inf, with left padding",
    pitfall="P5",
    rule="uniform-rows",
    code="lowest = torch.finfo(torch.float32).min\n"
    "attn_mask = torch.full((L, S), lowest).triu(1)\n"
    "key_padding_mask = (torch.arange(S) < S - lengths[:, None]) * lowest",
    intent="causal & left_padding(6, 4)",
    pads="left_padding",
)
def _lowest_number(meant: Meant) -> Case:
    return meant.base.but(**float_masks(meant, LOWEST))


@mistake(
    "minus-ten",
    "-10 in place of -inf",
    pitfall="P2",
    rule="finite-penalty",
    code="attn_mask = torch.full((L, S), -10.0).triu(1)",
)
def _minus_ten(meant: Meant) -> Case:
    return meant.base.but(**float_masks(meant, -10.0))


@mistake(
    "minus-ten-thousand",
    "-10000 in place of -inf",
    pitfall="P5",
    rule="finite-penalty",
    code="attn_mask = torch.full((L, S), -10000.0).triu(1)",
)
def _minus_ten_thousand(meant: Meant) -> Case:
    return meant.base.but(**float_masks(meant, -10000.0))


@mistake(
    "mixed-types",
    "One mask in floats, the other in bools",
    pitfall="P6",
    rule="mixed-dtypes",
    code="attn_mask = torch.nn.Transformer.generate_square_subsequent_mask(L)\n"
    "key_padding_mask = torch.arange(S) >= lengths[:, None]",
    intent="causal & padding(6, 4)",
    pads="padding",
)
def _mixed_types(meant: Meant) -> Case:
    return meant.right.but(attn_mask=float_mask(meant.attn, -torch.inf))
