"""Mistakes: the code shown makes the case, the rule finds it, and the repair gives the weights that were meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mha_viz.doctor import MISTAKES, RULES, Case, Mistake, examine, repaired
from mha_viz.doctor.reading import Sizes
from mha_viz.masks import mask

N, H, L, S, E = 2, 4, 6, 6, 16
SIZES = Sizes(N, H, L, S)
EVERY = [pytest.param(mistake, id=mistake.name) for mistake in MISTAKES.values()]


def case_of(mistake: Mistake) -> Case:
    sizes = SIZES._replace(queries=3) if mistake.rule == "causal-alignment" else SIZES
    return mistake.build(sizes, mask(mistake.intent))


def weights(case: Case) -> Tensor:
    """[N, H, L, S] of a real module, or of scaled_dot_product_attention read off with one-hot values."""
    torch.manual_seed(0)
    x = torch.randn(N, L, E)
    if case.api == "sdpa":
        key = torch.randn(N, H, S, 8)
        one_hot = torch.eye(S).expand(N, H, S, S)
        query = key[:, :, : case.query_len]
        return F.scaled_dot_product_attention(query, key, one_hot, case.attn_mask, is_causal=case.is_causal)
    module = nn.MultiheadAttention(E, H, batch_first=True)
    call = {"attn_mask": case.attn_mask, "key_padding_mask": case.key_padding_mask, "is_causal": case.is_causal}
    return module(x, x, x, **call, average_attn_weights=False)[1].detach()


def correct(case: Case) -> tuple[Tensor, Tensor]:
    """The weights that were meant, and which rows have a key at all."""
    assert case.intent is not None
    assert case.query_len is not None
    allowed = case.intent.allowed(case.query_len, S, batch_size=N, num_heads=H).expand(N, H, -1, S)
    if case.api == "sdpa":
        return weights(case.but(attn_mask=allowed, is_causal=False)), allowed.any(dim=-1)
    right = case.but(attn_mask=~allowed.flatten(0, 1), key_padding_mask=None, is_causal=False)
    return weights(right), allowed.any(dim=-1)


@pytest.mark.parametrize("mistake", EVERY)
def test_the_code_makes_the_case(mistake: Mistake) -> None:
    names = {"torch": torch, "np": np, "N": N, "H": H, "L": L, "S": S, "lengths": torch.tensor([6, 4])}
    exec(mistake.code, names)
    case = case_of(mistake)
    assert names.get("is_causal", False) == case.is_causal
    for name in ("attn_mask", "key_padding_mask"):
        if name in names:
            torch.testing.assert_close(names[name], getattr(case, name), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("mistake", EVERY)
def test_its_rule_finds_it(mistake: Mistake) -> None:
    report = examine(case_of(mistake))
    assert report.of(mistake.rule), str(report)
    assert RULES[mistake.rule].repair


@pytest.mark.parametrize("mistake", EVERY)
def test_the_repair_gives_the_weights_that_were_meant(mistake: Mistake) -> None:
    case = repaired(case_of(mistake), mistake.rule)
    expected, rows = correct(case)
    made = weights(case)
    assert not made.isnan().any()
    torch.testing.assert_close(made[rows], expected[rows])


@pytest.mark.parametrize("mistake", EVERY)
def test_after_the_repair_there_is_nothing_left_to_find(mistake: Mistake) -> None:
    report = examine(repaired(case_of(mistake), mistake.rule))
    assert report.ok, str(report)


@pytest.mark.parametrize("mistake", EVERY)
def test_it_can_be_made_with_another_intent(mistake: Mistake) -> None:
    for text in ("causal & window(2)", "(h == 0) | causal"):
        case = mistake.build(Sizes(3, 2, 5, 5), mask(text))
        examine(case)
        assert case.intent is not None
