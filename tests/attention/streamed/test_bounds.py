"""What a mask says of blocks must be true of every cell in them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mha_viz.attention.streamed.sight import ALL, NONE, SOME, Sight
from mha_viz.errors import MaskError
from mha_viz.masks import PATTERNS, Mask, mask
from tests.masks.strategies import masks

TEXTS = [
    *(pattern.example for pattern in PATTERNS.values()),
    "~causal",
    "causal ^ window(2)",
    "(q * 3 - k * 2) % 7 == 3",
    "(k - q) % (q + 1) < 2",
    "(k - 9) // (0 - 2) > q // 3",
    "min(q, k, 5) == max(k - 4, 0)",
    "(h * 3 < abs(q - 2 * k)) & (b == 0)",
    "(0 <= q - k < 3) | (k >= S - 2) & (q != L - 1)",
    "q % (k - 40) != 0",
    "N + H < L",
]


def edges(length: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.arange(0, length, step)
    return starts, (starts + step).clamp(max=length) - 1


def check(wanted: Mask, lengths: tuple[int, int], steps: tuple[int, int], extra: int = 0) -> int:
    """Compare each block with its cells; return how many blocks were decided."""
    sight = Sight(wanted, None, (lengths[1] - 2, lengths[1]), (2, 3, *lengths), extra)
    decided = 0
    for item, head in ((0, 0), (1, 2)):
        queries, keys = edges(lengths[0], steps[0]), edges(lengths[1] + extra, steps[1])
        classes = sight.classes(item, head, queries, keys)
        assert classes.shape == (len(keys[0]), len(queries[0]))
        query, key = torch.arange(lengths[0])[:, None], torch.arange(lengths[1] + extra)
        allowed = sight.allowed(item, head, query, key)
        for i, (low, high) in enumerate(zip(*keys, strict=True)):
            for j, (first, last) in enumerate(zip(*queries, strict=True)):
                cells = allowed[first : last + 1, low : high + 1]
                kind = int(classes[i, j])
                assert kind in (NONE, SOME, ALL)
                assert kind != ALL or bool(cells.all())
                assert kind != NONE or not bool(cells.any())
                decided += kind != SOME
    return decided


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("extra", [0, 2])
def test_a_block_that_is_decided_is_decided_rightly(text: str, extra: int) -> None:
    check(mask(text), (21, 26), (4, 5), extra)


@given(masks, st.integers(1, 7), st.integers(1, 9))
def test_blocks_of_any_mask_are_decided_rightly(wanted: Mask, queries: int, keys: int) -> None:
    check(wanted, (7, 9), (queries, keys))


@pytest.mark.parametrize(
    "text", ["causal", "window(3)", "block(8)", "document(8, 16)", "prefix(8)", "global_tokens(3)"]
)
def test_most_blocks_of_ordinary_masks_are_decided_without_looking(text: str) -> None:
    assert check(mask(text), (64, 64), (4, 4)) > 0.8 * 2 * 16 * 16


def test_a_block_that_may_divide_by_zero_is_looked_at() -> None:
    sight = Sight(mask("(k < 0) & (q % (k - 3) == 0)"), None, None, (1, 1, 8, 8), 0)
    classes = sight.classes(0, 0, edges(8, 8), edges(8, 4))
    assert classes.tolist() == [[SOME], [NONE]]
    with pytest.raises(MaskError, match="must not be 0 anywhere"):
        sight.allowed(0, 0, torch.arange(8)[:, None], torch.arange(4))
