"""Blocks said to be hidden from end to end, against a look at each of their cells."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from mha_viz.attention.peak import _Ledger
from mha_viz.attention.streamed import Stopped, StreamedAttention
from mha_viz.attention.streamed.hidden import Search, hidden
from mha_viz.attention.streamed.sight import Sight
from mha_viz.attention.streamed.signals import Stop, never
from mha_viz.errors import MaskError
from mha_viz.masks import PATTERNS, Mask, mask
from mha_viz.remember import forget
from tests.attention.streamed.test_bounds import TEXTS
from tests.masks.strategies import masks

WHOLE = slice(None)


def every(cells: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Return which blocks are True in every cell, one after the other."""
    rows, columns = (math.ceil(n / side) for n in cells.shape)
    found = np.zeros((rows, columns), dtype=bool)
    for i in range(rows):
        for j in range(columns):
            found[i, j] = cells[i * side : (i + 1) * side, j * side : (j + 1) * side].all()
    return found


def check(
    wanted: Mask, length: int, keys: int, side: int, *, at: tuple[int, int] = (0, 0), extra: int = 0
) -> NDArray[np.bool_]:
    """Compare all blocks with the mask's own cells and those of the padding."""
    lengths = (keys - keys // 3, keys)
    sight = Sight(wanted, None, lengths, (2, 3, length, keys), extra)
    found, padding = hidden(sight, at, slice(0, length), slice(0, keys + extra), side, 1, lambda: False)
    cells = np.zeros((length, keys + extra), dtype=bool)
    cells[:, :keys] = ~wanted.allowed(length, keys, batch_size=2, num_heads=3).expand(2, 3, length, keys)[at].numpy()
    pad = np.zeros_like(cells)
    pad[:, lengths[at[0]] : keys] = True
    np.testing.assert_array_equal(found.numpy(), every(cells, side))
    np.testing.assert_array_equal(padding.numpy(), every(pad, side))
    return found.numpy()


@pytest.mark.parametrize("side", [1, 7, 33])
@pytest.mark.parametrize("text", [text for text in TEXTS if text != "q % (k - 40) != 0"])  # divides by 0 at these sizes
def test_every_cell_of_a_hidden_block_is_hidden_and_of_no_other(text: str, side: int) -> None:
    check(mask(text), 180, 210, side)
    check(mask(text), 100, 90, side, at=(1, 2), extra=2)


@given(masks, st.integers(1, 30), st.integers(0, 1), st.integers(0, 2), st.integers(0, 2))
def test_blocks_of_any_mask_are_told_rightly(wanted: Mask, side: int, item: int, head: int, extra: int) -> None:
    check(wanted, 45, 50, side, at=(item, head), extra=extra)


@pytest.mark.parametrize(
    "text",
    [
        "cells(251, 350, 350)",
        "((q - 251) * (q - 251) + (k - 350) * (k - 350)) % 1000003 == 0",
        "(q * k % 1009 == 67) & (q + k == 601) & (q < k)",
    ],
)
@pytest.mark.parametrize("side", [50, 300])
def test_a_single_allowed_cell_is_found_where_no_sample_meets_it(text: str, side: int) -> None:
    found = check(mask(text), 600, 600, side)
    assert (~found).nonzero()[0].tolist() == [251 // side]
    assert (~found).nonzero()[1].tolist() == [350 // side]


def test_padding_and_mask_are_told_apart_and_extra_columns_are_never_hidden() -> None:
    q, k = torch.randn(1, 1, 8, 4), torch.randn(1, 1, 9, 4)
    w = StreamedAttention(q, k, mask="causal", key_lengths=(5,), extra_keys=1)
    masked, padding = w.hidden(WHOLE, WHOLE)
    assert torch.equal(masked[:, :8], torch.ones(8, 8).triu(1).bool())
    assert padding.all(0).tolist() == padding.any(0).tolist() == [False] * 5 + [True] * 3 + [False]
    assert not masked[:, 8].any()
    masked, padding = w.hidden(WHOLE, slice(6, 9), side=2)
    assert masked.tolist() == [[True, False], [True, False], [True, False], [False, False]]
    assert padding.tolist() == [[True, False]] * 4


@pytest.mark.parametrize(
    ("text", "differs"), [("causal", False), ("causal | (h > 1)", True), ("causal | (b > 0)", False)]
)
def test_it_is_said_whether_heads_differ(text: str, differs: bool) -> None:
    q, k = (torch.randn(2, 3, 30, 4) for _ in range(2))
    w = StreamedAttention(q, k, mask=text)
    assert w.by_head == differs
    first, last = (w.hidden(WHOLE, WHOLE, head=head, item=0)[0] for head in (0, 2))
    assert torch.equal(first, last) != differs


@pytest.mark.parametrize("name", PATTERNS)
def test_a_long_sequence_takes_little_memory(name: str) -> None:
    sight = Sight(mask(PATTERNS[name].example), None, None, (1, 1, 131_072, 131_072), 0)
    forget()
    with _Ledger() as ledger:
        found, _ = hidden(sight, (0, 0), slice(0, 8_192), slice(0, 131_072), 256, 1, lambda: False)
    assert found.shape == (32, 512)
    assert 2**16 < ledger.peak < 32e6


def test_looking_can_be_stopped_and_threads_change_nothing() -> None:
    sight = Sight(mask("random(0.0001, 3) & causal"), None, None, (1, 1, 4_000, 3_000), 0)

    def look(threads: int, stop: Stop) -> Tensor:
        forget()
        return hidden(sight, (0, 0), slice(0, 4_000), slice(0, 3_000), 9, threads, stop)[0]

    assert torch.equal(look(1, never), look(2, never))
    for threads in (1, 2):
        with pytest.raises(Stopped):
            look(threads, lambda: True)
    whole = torch.tensor([0]), torch.tensor([2_999])
    with pytest.raises(Stopped):
        Search(sight, (0, 0), lambda: True).hidden(whole, whole, 3_000)


@pytest.mark.parametrize(("text", "heads_share"), [("causal", True), ("k <= q - h", False)])
def test_a_mask_is_looked_at_once_for_all_numbers_and_for_all_heads_that_it_is_the_same_for(
    text: str, heads_share: bool
) -> None:
    one, other = (StreamedAttention(*torch.randn(2, 1, 2, 40, 4).unbind(0), mask=text) for _ in range(2))
    found = one.hidden(WHOLE, WHOLE, side=4)[0]
    assert other.hidden(WHOLE, WHOLE, side=4)[0] is found
    assert (one.hidden(WHOLE, WHOLE, side=4, head=1)[0] is found) is heads_share
    assert one.hidden(WHOLE, WHOLE, side=8)[0] is not found
    assert one.hidden(slice(0, 20), WHOLE, side=4)[0] is not found


def test_a_mask_that_divides_by_zero_says_so() -> None:
    q, k = (torch.randn(1, 1, 30, 4) for _ in range(2))
    with pytest.raises(MaskError, match="must not be 0 anywhere"):
        StreamedAttention(q, k, mask="q % k == 0").hidden(WHOLE, WHOLE, side=4)
