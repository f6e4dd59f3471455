"""Padding masks that hide the wrong keys, or all of them."""

from __future__ import annotations

from mha_viz.doctor.case import Case
from mha_viz.doctor.mistakes.registry import Meant, mistake, padding_of, with_padding


@mistake(
    "padding-inverted",
    "A tokenizer's attention mask as key_padding_mask",
    pitfall="P1",
    rule="inverted-padding",
    code="attention_mask = (torch.arange(S) < lengths[:, None]).int()\nkey_padding_mask = attention_mask.bool()",
    intent="padding(6, 4)",
    pads="padding",
)
def _padding_inverted(meant: Meant) -> Case:
    return with_padding(meant, padding_of(meant))


@mistake(
    "padding-transposed",
    "A padding mask of shape (S, N)",
    pitfall="P18",
    rule="padding-transposed",
    code="key_padding_mask = torch.arange(S)[:, None] >= lengths",
    intent="padding(6, 4)",
    pads="padding",
)
def _padding_transposed(meant: Meant) -> Case:
    return with_padding(meant, ~padding_of(meant).T)


@mistake(
    "all-padding",
    "A batch item without a token",
    pitfall="P4",
    rule="all-padding",
    code="key_padding_mask = torch.arange(S) >= torch.tensor([[S], [0]])",
    intent="padding(6, 0)",
    pads="padding",
)
def _all_padding(meant: Meant) -> Case:
    real = padding_of(meant).clone()
    real[-1] = False
    return with_padding(meant, ~real)


@mistake(
    "left-padding",
    "Left padding with a causal mask",
    pitfall="P4",
    rule="left-padding-causal",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).triu(1)\n"
    "key_padding_mask = torch.arange(S) < S - lengths[:, None]",
    intent="causal & left_padding(6, 4)",
    pads="left_padding",
)
def _left_padding(meant: Meant) -> Case:
    return meant.right
