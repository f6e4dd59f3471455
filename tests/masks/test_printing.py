"""Masks as torch code: executed, it gives the table of the mask."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Tensor

from mha_viz.masks import PATTERNS, mask, score_bias
from tests.masks.strategies import biases, masks, sizes


def executed(code: str, size: dict[str, int]) -> Tensor:
    """Run generated code as an exported script would, with nothing but torch in reach."""
    N, H, L, S = (size[name] for name in ("batch_size", "num_heads", "query_len", "key_len"))
    names = {
        "torch": torch,
        "b": torch.arange(N)[:, None, None, None],
        "h": torch.arange(H)[:, None, None],
        "q": torch.arange(L)[:, None],
        "k": torch.arange(S),
        "N": N,
        "H": H,
        "L": L,
        "S": S,
    }
    return eval(code, {"__builtins__": {"abs": abs, "min": min, "max": max}}, names).expand(N, H, L, S)


SIZE = {"batch_size": 3, "num_heads": 2, "query_len": 6, "key_len": 9}


@pytest.mark.parametrize("text", [pattern.example for pattern in PATTERNS.values()])
def test_code_of_every_pattern_gives_its_table(text: str) -> None:
    made = executed(mask(text).code(), SIZE)
    assert made.dtype == torch.bool
    assert torch.equal(made, mask(text).allowed(**SIZE).expand_as(made))


@given(masks, sizes)
def test_code_of_any_mask_gives_its_table(written, size) -> None:
    made = executed(written.code(), size)
    assert made.dtype == torch.bool
    assert torch.equal(made, written.allowed(**size).expand_as(made))


@given(biases, sizes)
def test_code_of_any_bias_gives_its_values(bias, size) -> None:
    made = executed(bias.code(), size)
    assert made.dtype == torch.float64
    values = bias.values(**size, dtype=torch.float64).expand_as(made)
    torch.testing.assert_close(made, values, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("full", "k >= 0"),
        ("causal & window(4)", "(k <= q) & (abs(q - k) <= 4)"),
        ("0 <= q - k < 3", "(0 <= q - k) & (q - k < 3)"),
        ("~prefix(3)", "~(k < 3)"),
        ("L == S", "torch.tensor(L == S)"),
        ("min(q, k, 3) < max(L, S)", "q.clamp(max=k).clamp(max=3) < max(L, S)"),
        ("max(3, q - k) == 3", "(q - k).clamp(min=3) == 3"),
        ("padding(5, 3)", "((b != 0) | (k < 5)) & ((b != 1) | (k < 3))"),
    ],
)
def test_code_is_what_one_would_write(text: str, code: str) -> None:
    assert mask(text).code() == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0.5", "torch.tensor(0.5, dtype=torch.float64)"),
        ("-0.5 * abs(q - k)", "-0.5 * abs(q.double() - k.double())"),
        ("1 / (N - 1)", "1.0 / (torch.tensor(N, dtype=torch.float64) - 1.0)"),
        (
            "alibi",
            "-1.0 * abs(q.double() - k.double()) * 2.0 ** (-8.0 * (h.double() + 1.0) / H)",
        ),
    ],
)
def test_code_of_biases_computes_in_float64(text: str, code: str) -> None:
    assert score_bias(text).code() == code
