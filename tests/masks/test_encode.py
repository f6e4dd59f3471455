"""Masks as torch takes them: real MultiheadAttention modules see what `allowed` says, and back again."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from mha_viz.errors import MaskError
from mha_viz.masks import encode, mask, score_bias
from tests.masks.strategies import masks, sizes

SIZE = {"query_len": 5, "key_len": 7, "batch_size": 2, "num_heads": 4}
TEXTS = ["causal", "window(1) & (h != 2) | (k == 0)", "padding(3, 5)", "(b == h) | (k == q)"]


def weights(attn_mask: Tensor | None = None, key_padding_mask: Tensor | None = None) -> Tensor:
    """Run a small module on fixed inputs: [N, H, L, S]."""
    torch.manual_seed(0)
    module = nn.MultiheadAttention(16, SIZE["num_heads"], batch_first=True)
    query, key = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    _, made = module(
        query, key, key, attn_mask=attn_mask, key_padding_mask=key_padding_mask, average_attn_weights=False
    )
    return made.detach()


@pytest.mark.parametrize("text", TEXTS)
def test_bool_and_float_encodings_give_identical_weights_that_are_zero_where_masked(text: str) -> None:
    as_bool = weights(encode.attn_mask(mask(text), **SIZE, encoding="bool"))
    as_float = weights(encode.attn_mask(mask(text), **SIZE, encoding="float"))
    assert torch.equal(as_bool, as_float)
    assert torch.equal(as_bool > 0, mask(text).allowed(**SIZE).expand_as(as_bool))


def test_key_padding_mask_is_the_padding_pattern() -> None:
    by_mask = weights(encode.attn_mask(mask("padding(3, 5)"), **SIZE))
    for encoding in ("bool", "float"):
        padding = encode.key_padding_mask([3, 5], 7, encoding=encoding)
        assert padding.shape == (2, 7)
        assert torch.equal(weights(key_padding_mask=padding), by_mask)
    assert encode.key_padding_mask([3, 0], 4).tolist() == [[False, False, False, True], [True] * 4]


def test_bias_is_added_to_the_scores_of_allowed_pairs() -> None:
    attn_mask = encode.attn_mask(mask("causal"), score_bias("alibi"), **SIZE, encoding="bool")
    bias, allowed = score_bias("alibi").values(**SIZE), mask("causal").allowed(**SIZE)
    expected = weights().mul(bias.exp()).mul(allowed)
    torch.testing.assert_close(weights(attn_mask), expected / expected.sum(-1, keepdim=True))


def test_bias_never_opens_a_masked_pair() -> None:
    encoded = encode.attn_mask(mask("causal"), score_bias("1 / (q - k - 1)"), query_len=3)
    assert encoded is not None
    assert (encoded[~mask("causal").allowed(3)] == -torch.inf).all()


@pytest.mark.parametrize("encoding", ["bool", "float"])
def test_three_dimensional_masks_have_index_n_times_heads_plus_head(encoding: encode.Encoding) -> None:
    text = "(b * 3 + h + q) % 5 > k - 2"
    encoded = encode.attn_mask(mask(text), query_len=4, key_len=6, batch_size=2, num_heads=3, encoding=encoding)
    assert encoded is not None
    assert encoded.shape == (6, 4, 6)
    for n in range(2):
        for head in range(3):
            for query in range(4):
                for key in range(6):
                    masked = not (n * 3 + head + query) % 5 > key - 2
                    found = encoded[n * 3 + head, query, key].item()
                    assert found == (masked if encoding == "bool" else (-torch.inf if masked else 0.0))


@pytest.mark.parametrize(
    ("text", "bias", "shape"),
    [
        ("full", None, None),
        ("causal", None, (5, 7)),
        ("k >= 0", None, (5, 7)),
        ("full", "q", (5, 7)),
        ("full", "alibi", (8, 5, 7)),
        ("h == 0", None, (8, 5, 7)),
        ("padding(3, 5)", "alibi", (8, 5, 7)),
        ("padding(3, 5)", "q", (8, 5, 7)),
    ],
)
def test_shape_follows_the_variables_of_mask_and_bias(text: str, bias: str | None, shape) -> None:
    encoded = encode.attn_mask(mask(text), score_bias(bias) if bias else None, **SIZE)
    assert (encoded if encoded is None else tuple(encoded.shape)) == shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_float_masks_have_the_dtype_asked_for(dtype: torch.dtype) -> None:
    for bias in (None, score_bias("alibi")):
        encoded = encode.attn_mask(mask("causal"), bias, **SIZE, encoding="float", dtype=dtype)
        assert encoded is not None
        assert encoded.dtype == dtype
    assert encode.key_padding_mask([3], 4, encoding="float", dtype=dtype).dtype == dtype


@given(masks, sizes)
def test_allowed_from_is_the_inverse_of_attn_mask(written, size) -> None:
    N, H, L, S = (size[name] for name in ("batch_size", "num_heads", "query_len", "key_len"))
    expected = written.allowed(**size).expand(N, H, L, S)
    for encoding in ("bool", "float"):
        encoded = encode.attn_mask(written, **size, encoding=encoding)
        if encoded is None:
            assert expected.all()
            continue
        back = encode.allowed_from(encoded, batch_size=N, num_heads=H)
        assert back.dtype == torch.bool
        assert back.shape == ((1, 1, L, S) if encoded.dim() == 2 else (N, H, L, S))
        assert torch.equal(back.expand(N, H, L, S), expected)


def test_only_minus_infinity_masks_in_a_float_mask() -> None:
    row = torch.tensor([[0.0, 1.0, -1e9, -torch.inf, torch.inf, torch.nan]])
    expected = [True, True, True, False, True, True]
    assert encode.allowed_from(row, batch_size=1, num_heads=1)[0, 0, 0].tolist() == expected
    assert encode.allowed_from_padding(row)[0, 0, 0].tolist() == expected


def test_allowed_from_padding_is_the_inverse_of_key_padding_mask() -> None:
    expected = mask("padding(3, 5)").allowed(1, 7, batch_size=2)
    for encoding in ("bool", "float"):
        padding = encode.key_padding_mask([3, 5], 7, encoding=encoding)
        assert torch.equal(encode.allowed_from_padding(padding), expected)
        assert torch.equal(encode.allowed_from_padding(padding[0]), expected[:1])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: encode.key_padding_mask([3, 9], 7),
            "the length of batch item 1 must be from 0 to key_len 7, got 9",
        ),
        (
            lambda: encode.allowed_from(torch.zeros(3, 4, 5).bool(), batch_size=2, num_heads=2),
            "attn_mask must have the shape (L, S) or (4, L, S) for N = 2 and H = 2, got (3, 4, 5)",
        ),
        (
            lambda: encode.allowed_from(torch.zeros(2, 2, 4, 5), batch_size=2, num_heads=2),
            "attn_mask must have the shape (L, S) or (4, L, S) for N = 2 and H = 2, got (2, 2, 4, 5)",
        ),
        (
            lambda: encode.allowed_from(torch.zeros(4, 5).int(), batch_size=2, num_heads=2),
            "attn_mask must be bool or a floating type, got torch.int32",
        ),
        (
            lambda: encode.allowed_from_padding(torch.zeros(2, 1, 5)),
            "key_padding_mask must have the shape (N, S) or (S), got (2, 1, 5)",
        ),
        (
            lambda: encode.allowed_from_padding(torch.zeros(2, 5).to(torch.uint8)),
            "key_padding_mask must be bool or a floating type, got torch.uint8",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        make()
    assert str(refused.value) == sentence
