"""No finding on a correct mask: every pattern, in every encoding, shape and with every right padding."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from mha_viz.doctor import check
from mha_viz.masks import PATTERNS, encode, mask

N, H = 2, 4
SQUARE, LONG_KEYS, LONG_QUERIES = (6, 6), (5, 8), (8, 5)


def shown(text: str, sizes: tuple[int, int]) -> bool:
    """Whether every query sees a key: an empty row is a finding, whatever was meant."""
    allowed = mask(text).allowed(*sizes, batch_size=N, num_heads=H)
    return bool(allowed.any(dim=-1).all())


EXAMPLES = [pattern.example for pattern in PATTERNS.values()]
TEXTS = [text if shown(text, SQUARE) else f"{text} | (k == 0)" for text in EXAMPLES]
TEXTS += ["causal & window(2)", "causal | prefix(3)"]
TEXTS += ["window(1) & causal | (k == 0)", "(h == 0) | causal", "block(2) | (k == 0)"]
CORPUS = [
    (text, sizes, encoding, three, padded, told)
    for text, sizes, encoding, three, padded, told in product(
        TEXTS, (SQUARE, LONG_KEYS, LONG_QUERIES), ("bool", "float"), (False, True), (False, True), (False, True)
    )
    if shown(f"({text}) & padding({sizes[1]}, {sizes[1] - 2})" if padded else text, sizes)
]


def encoded(text: str, sizes: tuple[int, int], encoding: encode.Encoding, three: bool) -> Tensor:
    raw = encode.attn_mask(
        mask(f"({text}) & (k >= 0)"), query_len=sizes[0], key_len=sizes[1], batch_size=N, num_heads=H, encoding=encoding
    )
    assert raw is not None
    return raw.expand(N * H, -1, -1) if three else raw


def test_the_corpus_is_large_and_holds_every_pattern() -> None:
    assert len(CORPUS) >= 200
    assert {text for text, *_ in CORPUS} == set(TEXTS)


@pytest.mark.parametrize("text", TEXTS)
def test_correct_masks_give_no_error_and_no_warning(text: str) -> None:
    for written, sizes, encoding, three, padded, told in CORPUS:
        if written != text:
            continue
        by_item = f"({text}) & padding({sizes[1]}, {sizes[1] - 2})" if padded and "padding" in text else text
        padding = encode.key_padding_mask([sizes[1], sizes[1] - 2], sizes[1], encoding=encoding) if padded else None
        report = check(
            encoded(text, sizes, encoding, three),
            padding,
            num_heads=H,
            query_len=sizes[0],
            key_len=sizes[1],
            batch_size=N,
            intent=by_item if told else None,
        )
        assert report.ok, f"{(text, sizes, encoding, three, padded, told)}\n{report}"


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("told", [False, True])
def test_correct_masks_of_scaled_dot_product_attention_give_none_either(text: str, told: bool) -> None:
    for sizes in (SQUARE, LONG_KEYS, LONG_QUERIES):
        if not shown(text, sizes):
            continue
        allowed = mask(text).allowed(*sizes, batch_size=N, num_heads=H)
        if allowed.dim() == 3:
            allowed = allowed[None]
        added = torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)
        for raw in (allowed, added):
            report = check(raw, api="sdpa", num_heads=H, batch_size=N, intent=text if told else None)
            assert report.ok, f"{(text, sizes)}\n{report}"


@pytest.mark.parametrize("lengths", [[6, 4], [6, 6], [1, 5], [3, 3]])
@pytest.mark.parametrize("encoding", ["bool", "float"])
def test_correct_padding_alone_gives_none(lengths: list[int], encoding: encode.Encoding) -> None:
    right = encode.key_padding_mask(lengths, 6, encoding=encoding)
    for raw in (right, right.flip(-1)):
        assert check(key_padding_mask=raw).ok
    text = f"padding({lengths[0]}, {lengths[1]})"
    assert check(key_padding_mask=right, query_len=6, intent=text).ok
    assert check(key_padding_mask=right.flip(-1), query_len=6, intent=f"left_{text}").ok


def test_a_causal_mask_with_padding_in_the_intent_is_compared_part_by_part() -> None:
    causal = encode.attn_mask(mask("causal"), query_len=6)
    padding = encode.key_padding_mask([6, 4], 6)
    assert check(causal, padding, num_heads=H, intent="causal & padding(6, 4)").ok
    assert not check(causal, padding, num_heads=H, intent="causal & padding(6, 5)").ok
    merged = encode.attn_mask(mask("causal & padding(6, 4)"), query_len=6, batch_size=N, num_heads=H)
    assert check(merged, padding, num_heads=H, intent="causal & padding(6, 4)").ok
