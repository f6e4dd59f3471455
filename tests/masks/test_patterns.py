"""Every named pattern against nested loops, and what the registry says of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mha_viz.masks as masks
from mha_viz.errors import MaskError
from mha_viz.masks import BIASES, PATTERNS
from tests.masks.oracles import ORACLES, table
from tests.masks.strategies import named, sizes

ARGUMENTS: dict[str, list[tuple[int | float, ...]]] = {
    "full": [()],
    "causal": [()],
    "causal_bottom_right": [()],
    "window": [(), (0,), (1,), (3,), (100,)],
    "dilated": [(), (0, 3), (2, 1), (2, 3), (9, 2)],
    "strided": [(), (1,), (3,), (50,)],
    "prefix": [(), (1,), (3,), (50,)],
    "block": [(), (1,), (3,), (50,)],
    "document": [(1,), (3, 4, 2), (2, 2), (1, 1, 1, 1), (50,)],
    "global_tokens": [(), (0,), (2,), (50,)],
    "random": [(), (0.0, 1), (1.0, 1), (0.5, 0), (0.5, 2**31 - 2)],
    "bigbird": [(), (0, 0, 0.0, 0), (1, 2, 0.3, 7)],
    "padding": [(5, 3, 4), (0,), (2,), (1, 1, 1, 1, 1)],
    "left_padding": [(5, 3, 4), (0,), (2,), (99, 1)],
    "cells": [(2, 0, 1, 5, 3, 3), (0, 0, 0), (1, 2, 99), (4, 1, 3, 4, 2, 6, 3, 1, 3), (50, 0, 0)],
}
CASES = [(name, arguments) for name in PATTERNS for arguments in ARGUMENTS.get(name, [])]


def test_every_pattern_has_an_oracle_and_arguments_to_try() -> None:
    assert set(ORACLES) == set(PATTERNS) == set(ARGUMENTS)


@pytest.mark.parametrize(("name", "arguments"), CASES)
@pytest.mark.parametrize("size", [(1, 1, 6, 6), (3, 2, 5, 9), (2, 3, 9, 4), (1, 1, 1, 1)], ids=str)
def test_pattern_allows_what_nested_loops_allow(name: str, arguments: tuple, size: tuple[int, int, int, int]) -> None:
    N, H, L, S = size
    mask = PATTERNS[name](*arguments)
    expected = table(lambda at: ORACLES[name](at, *arguments), N, H, L, S)
    allowed = mask.allowed(L, S, batch_size=N, num_heads=H)
    assert torch.equal(allowed.expand(N, H, L, S), expected)


@pytest.mark.parametrize("name", PATTERNS)
def test_pattern_is_documented_and_its_example_reads_back(name: str) -> None:
    pattern = PATTERNS[name]
    assert pattern.name == name
    assert pattern.summary.endswith(".")
    assert len(pattern.summary) <= 120
    assert str(masks.mask(pattern.example)) == pattern.example
    assert pattern.example.partition("(")[0] == name
    for parameter in pattern.parameters:
        assert parameter.help
        assert parameter.repeats or parameter.low <= parameter.default <= parameter.high


@given(named(PATTERNS))
def test_a_named_pattern_is_its_definition(mask) -> None:
    spelt_out = masks.mask(str(mask.definition))
    assert spelt_out == mask.definition
    assert spelt_out != mask
    assert spelt_out.variables == mask.variables
    size = {"query_len": 7, "key_len": 5, "batch_size": 3, "num_heads": 2}
    assert torch.equal(spelt_out.allowed(**size), mask.allowed(**size))


@given(named(PATTERNS), sizes, st.data())
def test_a_block_is_a_slice_of_the_whole(mask, size, data: st.DataObject) -> None:
    rows, cols = data.draw(st.slices(size["query_len"])), data.draw(st.slices(size["key_len"]))
    rows, cols = (slice(s.start, s.stop, abs(s.step or 1)) for s in (rows, cols))  # torch has no negative steps
    assert torch.equal(mask.allowed(**size, rows=rows, cols=cols), mask.allowed(**size)[..., rows, cols])


def test_a_block_of_a_very_long_sequence_is_computed_alone() -> None:
    block = masks.mask("causal & window(2)").allowed(2**24, rows=slice(2**24 - 3, None), cols=slice(2**24 - 4, None))
    assert block.tolist() == [[True, True, False, False], [True, True, True, False], [False, True, True, True]]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2, 12345])
def test_random_has_the_share_that_was_asked_for_in_every_row_and_column(share: float, seed: int) -> None:
    allowed = masks.mask(f"random({share}, {seed})").allowed(512).double()
    deviation = (share * (1 - share) / 512) ** 0.5
    assert abs(allowed.mean() - share) < 5 * deviation / 512**0.5
    for direction in (0, 1):
        lines = allowed.mean(direction)
        assert (lines - share).abs().max() < 6 * deviation
        assert 0.8 < lines.std() / deviation < 1.25


@pytest.mark.parametrize("seed", [0, 1, 2, 12345])
def test_random_shows_no_stripes(seed: int) -> None:
    allowed = masks.mask(f"random(0.5, {seed})").allowed(256).double()
    noise = allowed - allowed.mean()
    power = torch.fft.fft2(noise).abs() ** 2 / noise.square().sum()
    assert power.max() < 25  # of pure noise the largest of 65,536 is about 11; one visible stripe gives hundreds


def test_random_depends_on_the_seed_and_the_position_only() -> None:
    allowed = masks.mask("random(0.5, 3)").allowed(64)
    assert torch.equal(masks.mask("random(0.5, 3)").allowed(16, 32), allowed[:16, :32])
    other = masks.mask("random(0.5, 4)").allowed(64)
    assert 0.4 < (allowed == other).double().mean() < 0.6
    assert 0.4 < (allowed == allowed.T).double().mean() < 0.6


@pytest.mark.parametrize(
    ("name", "arguments", "keywords", "sentence"),
    [
        ("causal", (1,), {}, "wrong arguments for causal: too many positional arguments"),
        ("window", (1, 2), {}, "wrong arguments for window(r=4): too many positional arguments"),
        ("window", (), {"radius": 1}, "wrong arguments for window(r=4): got an unexpected keyword argument 'radius'"),
        ("window", (1,), {"r": 1}, "wrong arguments for window(r=4): multiple values for argument 'r'"),
        (
            "window",
            (131073,),
            {},
            "wrong arguments for window(r=4): r must be a whole number from 0 to 131072, got 131073",
        ),
        ("window", (-1,), {}, "wrong arguments for window(r=4): r must be a whole number from 0 to 131072, got -1"),
        ("window", (1.5,), {}, "wrong arguments for window(r=4): r must be a whole number from 0 to 131072, got 1.5"),
        (
            "dilated",
            (1, 0),
            {},
            "wrong arguments for dilated(r=3, step=2): step must be a whole number from 1 to 131072, got 0",
        ),
        (
            "document",
            (),
            {},
            "wrong arguments for document(*lengths): it needs at least one number, as in document(3, 4, 2)",
        ),
        (
            "document",
            (3, 0),
            {},
            "wrong arguments for document(*lengths): lengths must be a whole number from 1 to 131072, got 0",
        ),
        (
            "cells",
            (),
            {},
            "wrong arguments for cells(*runs): it needs at least one number, as in cells(2, 0, 1, 5, 3, 3)",
        ),
        (
            "cells",
            (1, 2, 3, 4),
            {},
            "cells takes three numbers for each run, its query, its first key and its last key, got 4 numbers",
        ),
        (
            "cells",
            (0, 1, 1, 7, 5, 4),
            {},
            "a run of cells ends at or after its first key, got keys 5 to 4 of query 7",
        ),
        (
            "random",
            (1.5,),
            {},
            "wrong arguments for random(share=0.1, seed=0): share must be from 0 to 1, got 1.5",
        ),
        (
            "random",
            (float("nan"),),
            {},
            "wrong arguments for random(share=0.1, seed=0): share must be from 0 to 1, got nan",
        ),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(name, arguments, keywords, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        PATTERNS[name](*arguments, **keywords)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("pattern", [*PATTERNS.values(), *BIASES.values()], ids=lambda pattern: pattern.name)
def test_every_bound_is_checked_on_both_sides(pattern) -> None:
    for i, parameter in enumerate(pattern.parameters):
        before = [p.default for p in pattern.parameters[:i]]
        for edge, outside in ((parameter.low, parameter.low - 1), (parameter.high, parameter.high + 1)):
            times = 3 if pattern.name == "cells" else 1
            pattern(*before, *[edge] * times)
            with pytest.raises(MaskError, match=f"{parameter.name} must be .*from {parameter.low} to"):
                pattern(*before, *[outside] * times)


def test_cells_share_a_term_where_queries_see_the_same_keys() -> None:
    rectangle = masks.mask("cells(2, 1, 3, 3, 1, 3, 4, 1, 3, 6, 1, 3, 9, 0, 0)")
    assert str(rectangle.definition) == "((2 <= q <= 4) | (q == 6)) & (1 <= k <= 3) | (q == 9) & (k == 0)"


def test_cells_may_overlap_and_come_in_any_order() -> None:
    written = masks.mask("cells(3, 2, 4, 0, 0, 0, 3, 1, 2, 3, 4, 4)")
    assert str(written) == "cells(3, 2, 4, 0, 0, 0, 3, 1, 2, 3, 4, 4)"
    assert torch.equal(written.allowed(6), masks.mask("cells(0, 0, 0, 3, 1, 4)").allowed(6))
