"""Which pattern a raw mask is, and in which convention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from mha_viz.errors import MaskError
from mha_viz.masks import Recognised, mask, recognise

STRUCTURES = [
    "full",
    "causal",
    "q > k",
    "k <= q + 2",
    "causal_bottom_right",
    "window(2)",
    "causal & window(2)",
    "dilated(2, 3)",
    "causal & dilated(2, 3)",
    "strided(3)",
    "causal & strided(3)",
    "prefix(3)",
    "causal | prefix(3)",
    "block(4)",
    "causal & block(4)",
    "document(3, 5, 2)",
    "causal & document(3, 5, 2)",
    "global_tokens(2)",
    "window(1) | global_tokens(2)",
    "causal & (window(2) | prefix(1))",
]
PADDED = [
    "padding(12, 7, 9)",
    "causal & padding(12, 7, 9)",
    "causal & left_padding(12, 7, 9)",
    "window(2) & padding(12, 7, 9)",
]
CONVENTIONS: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "bool, True = ignore": ("mha", lambda allowed: ~allowed),
    "bool, True = attend": ("sdpa", lambda allowed: allowed),
    "uint8": ("mha", lambda allowed: (~allowed).byte()),
    "int64": ("sdpa", lambda allowed: allowed.long()),
    "picture": ("sdpa", lambda allowed: allowed.byte() * 255),
    "float 0 and 1": ("mha", lambda allowed: (~allowed).double()),
    "float, -inf": ("float", lambda allowed: torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)),
    "half, -1e4": ("float", lambda allowed: torch.zeros(allowed.shape).masked_fill(~allowed, -1e4).half()),
    "float, -5": ("float", lambda allowed: torch.zeros(allowed.shape).masked_fill(~allowed, -5)),
    "int, -1000000": ("float", lambda allowed: (~allowed).long() * -1_000_000),
    "float, 0 * -inf": ("float", lambda allowed: (~allowed).float() * -torch.inf),
}


def assert_first(given: Tensor, allowed: Tensor, convention: str, **options: int) -> Recognised:
    """Assert that the first explanation allows exactly what was meant, in the convention that was used."""
    best = recognise(given, **options)[0]
    size = dict(zip(("batch_size", "num_heads", "query_len", "key_len"), allowed.shape, strict=True))
    assert torch.equal(mask(best.mask).allowed(**size).expand_as(allowed), allowed), best
    assert best.convention == convention
    assert best.agreement == 1
    return best


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("text", STRUCTURES)
def test_a_known_pattern_is_recognised_in_every_convention(text: str, convention: str) -> None:
    if text == "full" and convention.startswith(("float", "half", "int,")):
        pytest.skip("a constant is tested by itself")
    name, written = CONVENTIONS[convention]
    for L, S in ((12, 12), (12, 17), (17, 13), (40, 40)):
        allowed = mask(text).allowed(L, S)
        assert_first(written(allowed), allowed[None, None], name)


@pytest.mark.parametrize("text", STRUCTURES)
def test_a_known_pattern_is_called_by_its_name(text: str) -> None:
    best = recognise(~mask(text).allowed(24))[0]
    expected = text.replace("5, 2)", "5, 2, 14)").replace("causal_bottom_right", "causal")
    assert best == Recognised(expected, "mha", 1.0)


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("text", PADDED)
def test_padding_is_recognised_under_other_patterns(text: str, convention: str) -> None:
    name, written = CONVENTIONS[convention]
    allowed = mask(text).allowed(12, batch_size=3)
    best = assert_first(written(allowed), allowed, name)
    assert best.mask == text


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_mask_of_keys_alone_is_padding(convention: str) -> None:
    name, written = CONVENTIONS[convention]
    real = mask("padding(9, 5, 7, 2)").allowed(1, 9, batch_size=4)
    for view in (real, real[:, 0, 0]):
        assert recognise(written(view))[0] == ("padding(9, 5, 7, 2)", name, 1.0)
    for view in (real[1, 0, 0], real[1, 0], real[1], real[1:2]):
        assert recognise(written(view))[0] == ("padding(5)", name, 1.0)


def test_a_bare_padding_mask_is_taken_to_have_its_real_tokens_first() -> None:
    hidden = ~mask("left_padding(9, 5, 7)").allowed(1, 9, batch_size=3)[:, 0, 0]
    assert recognise(hidden)[:2] == [("padding(0, 4, 2)", "sdpa", 1.0), ("left_padding(9, 5, 7)", "mha", 1.0)]


def test_left_padding_is_certain_where_a_float_says_the_polarity() -> None:
    hidden = ~mask("left_padding(9, 5, 7)").allowed(1, 9, batch_size=3)[:, 0, 0]
    added = torch.zeros(3, 9).masked_fill(hidden, -torch.inf)
    assert recognise(added)[0] == ("left_padding(9, 5, 7)", "float", 1.0)


def test_the_polarity_is_the_one_that_makes_a_known_pattern() -> None:
    ones = torch.ones(10, 10, dtype=torch.bool)
    assert recognise(ones.triu(1))[0] == ("causal", "mha", 1.0)
    assert recognise(ones.tril())[0] == ("causal", "sdpa", 1.0)
    assert recognise(ones.triu())[0] == ("q > k", "mha", 1.0)


def test_constant_masks_are_full_where_they_can_be() -> None:
    assert recognise(torch.zeros(4, 4, dtype=torch.bool))[0] == ("full", "mha", 1.0)
    assert recognise(torch.ones(4, 4, dtype=torch.bool))[0] == ("full", "sdpa", 1.0)
    assert recognise(torch.zeros(4, 4))[0] == ("full", "float", 1.0)
    assert recognise(torch.randn(6, 6))[0] == ("full", "float", 1.0)


def test_heads_of_one_mask_may_differ() -> None:
    text = "((h == 0) | (h == 2)) & causal | (h == 1) & window(1)"
    allowed = mask(text).allowed(9, num_heads=3, batch_size=2)
    expected = (text, "mha", 1.0)
    assert recognise(~allowed[None])[0] == expected
    stacked = (~allowed).repeat(2, 1, 1)  # [N * H, L, S], index n * H + h
    assert recognise(stacked, num_heads=3)[0] == expected


def test_a_mask_repeated_for_heads_is_recognised_by_items() -> None:
    allowed = mask("causal & padding(9, 5)").allowed(9, batch_size=2)
    stacked = (~allowed[:, 0]).repeat_interleave(4, 0)  # [N * H, L, S]
    assert recognise(stacked, num_heads=4)[0] == ("causal & padding(9, 5)", "mha", 1.0)


@pytest.mark.parametrize("text", STRUCTURES)
def test_more_rows_than_are_summed_at_a_time_make_no_difference(text: str) -> None:
    for L, S in ((600, 600), (300, 600), (600, 300)):
        allowed = mask(text).allowed(L, S)
        assert_first(~allowed, allowed[None, None], "mha")


@pytest.mark.parametrize("text", STRUCTURES)
@pytest.mark.parametrize("seed", range(3))
def test_a_few_wrong_cells_do_not_hide_the_pattern(text: str, seed: int) -> None:
    L = 48
    allowed = mask(text).allowed(L)
    flipped = torch.randperm(L * L, generator=torch.Generator().manual_seed(seed))[:5]
    given = allowed.clone()
    given.view(-1)[flipped] ^= True
    best = recognise(~given)[0]
    assert best.convention == "mha"
    assert best.agreement == 1 - 5 / L**2
    assert torch.equal(mask(best.mask).allowed(L), allowed)


def test_one_cell_next_to_the_diagonal_is_not_taken_for_a_list_of_lengths() -> None:
    leaky = torch.ones(8, 8, dtype=torch.bool).tril()
    leaky[3, 4] = True
    assert recognise(leaky)[0] == ("causal", "sdpa", 1 - 1 / 64)


@pytest.mark.parametrize("seed", range(5))
def test_random_cells_resemble_nothing(seed: int) -> None:
    given = torch.rand(64, 64, generator=torch.Generator().manual_seed(seed)) < 0.5
    assert recognise(given)[0].agreement < 0.65


def test_explanations_come_best_first_each_once_and_at_most_as_many_as_asked_for() -> None:
    given = ~mask("block(4)").allowed(16)
    found = recognise(given)
    assert [one.agreement for one in found] == sorted((one.agreement for one in found), reverse=True)
    assert len({one.mask for one in found}) == len(found) == 5
    assert recognise(given, most=2) == found[:2]


def test_agreement_is_the_share_of_equal_cells() -> None:
    given = torch.rand(150, 20, generator=torch.Generator().manual_seed(1)) < 0.3
    for text, convention, agreement in recognise(given):
        read = given if convention == "sdpa" else ~given
        said = mask(text).allowed(150, 20).reshape(150, 20)
        assert agreement == pytest.approx((read == said).double().mean().item(), abs=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1), (1,)])
def test_the_smallest_masks_are_explained(size: tuple[int, ...]) -> None:
    for value in (False, True):
        assert recognise(torch.full(size, value))[0].agreement == 1


def test_an_array_is_as_good_as_a_tensor() -> None:
    assert recognise(np.triu(np.ones((6, 6), dtype=bool), 1))[0] == ("causal", "mha", 1.0)


@pytest.mark.parametrize("text", ["causal", "causal & window(700)", "document(1000, 1500)", "block(64)", "strided(8)"])
def test_4096_tokens_are_recognised(text: str) -> None:
    given = ~mask(text).allowed(4096)
    given[7, 4000] ^= True
    best = recognise(given)[0]
    assert best == (text.replace("1500)", "1500, 1596)"), "mha", 1 - 2**-24)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            torch.zeros(0, 3),
            "a mask to recognise must have one to four dimensions and at least one cell, got the shape [0, 3]",
        ),
        (
            torch.zeros(2, 2, dtype=torch.complex64),
            "a mask to recognise must hold real numbers or bools, got torch.complex64",
        ),
        (
            torch.zeros(2, 2).to(torch.float8_e4m3fn),
            "a mask to recognise must hold bools, integers or floats of 16 bits or more, got torch.float8_e4m3fn",
        ),
        (np.array([["a"]]), "a mask to recognise must hold real numbers or bools, got <U1"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_sentence(given: object, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        recognise(given)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("num_heads", [0, -1])
def test_a_mask_has_one_head_or_more(num_heads: int) -> None:
    with pytest.raises(MaskError) as refused:
        recognise(torch.ones(2, 3, 3).bool(), num_heads=num_heads)
    assert str(refused.value) == f"num_heads must be 1 or more, got {num_heads}"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int16"])
def test_integers_of_every_size_are_recognised(dtype: str) -> None:
    assert recognise(np.triu(np.ones((6, 6)), 1).astype(dtype))[0] == ("causal", "mha", 1.0)
