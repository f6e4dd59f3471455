"""Painted cells: what they do to a mask, and to its text."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mha_viz.errors import MaskError
from mha_viz.masks import from_cells, mask, painted
from tests.masks.strategies import masks

SIZE = {"batch_size": 2, "num_heads": 2, "query_len": 6, "key_len": 5}
tables = st.lists(st.booleans(), min_size=30, max_size=30).map(lambda cells: torch.tensor(cells).reshape(6, 5))


def cells(*places: tuple[int, int], size: tuple[int, int] = (6, 5)) -> Tensor:
    table = torch.zeros(size, dtype=torch.bool)
    for place in places:
        table[place] = True
    return table


@given(tables)
def test_from_cells_allows_exactly_those_cells(table: Tensor) -> None:
    made = from_cells(table)
    assert not table.any() if made is None else torch.equal(made.allowed(6, 5), table)


@given(tables)
def test_from_cells_needs_the_fewest_runs(table: Tensor) -> None:
    starts = sum(row[k] and (k == 0 or not row[k - 1]) for row in table.tolist() for k in range(5))
    made = from_cells(table)
    assert (0 if made is None else len(made.arguments)) == 3 * starts


def test_from_cells_reaches_the_last_row_and_column() -> None:
    assert str(from_cells(torch.ones(2, 3, dtype=torch.bool))) == "cells(0, 0, 2, 1, 0, 2)"
    assert str(from_cells(cells((5, 4), (0, 0)))) == "cells(0, 0, 0, 5, 4, 4)"
    assert from_cells(cells()) is None


@given(masks, tables)
def test_painting_turns_exactly_the_toggled_cells_round(base, toggled: Tensor) -> None:
    after = mask(painted(base, toggled)).allowed(**SIZE)
    assert torch.equal(after.expand(2, 2, 6, 5), base.allowed(**SIZE) ^ toggled.expand(2, 2, 6, 5))


@given(masks, tables, tables)
def test_painting_twice_gives_the_text_back(base, first: Tensor, second: Tensor) -> None:
    once = painted(base, first)
    assert painted(once, cells()) == once
    assert painted(painted(once, second), second) == once
    assert painted(painted(base, first), second) == painted(base, first ^ second)


@pytest.mark.parametrize(
    ("base", "places", "text"),
    [
        ("causal", [(2, 3), (2, 4)], "causal ^ cells(2, 3, 4)"),
        ("causal ^ cells(2, 3, 4)", [(2, 3), (2, 4)], "causal"),
        ("causal ^ cells(2, 3, 4)", [(2, 3)], "causal ^ cells(2, 4, 4)"),
        ("causal ^ cells(2, 3, 4)", [(2, 2)], "causal ^ cells(2, 2, 4)"),
        ("causal ^ cells(2, 1, 3, 2, 2, 4)", [(0, 0)], "causal ^ cells(0, 0, 0, 2, 1, 4)"),
        ("cells(1, 1, 1) ^ causal ^ cells(1, 1, 1)", [(0, 4)], "causal ^ cells(0, 4, 4)"),
        ("causal ^ cells(90, 3, 400)", [(0, 4)], "causal ^ cells(0, 4, 4, 90, 3, 400)"),
        ("causal | prefix(2)", [(0, 4)], "(causal | prefix(2)) ^ cells(0, 4, 4)"),
        ("causal & window(2)", [(0, 4)], "causal & window(2) ^ cells(0, 4, 4)"),
        ("k <= q", [(0, 4)], "(k <= q) ^ cells(0, 4, 4)"),
        ("~full", [(0, 4)], "cells(0, 4, 4)"),
        ("cells(0, 4, 4)", [(0, 3)], "cells(0, 3, 4)"),
        ("cells(0, 4, 4)", [(0, 4)], "~full"),
        ("~full", [], "~full"),
        ("k<=q", [], "k <= q"),
    ],
)
def test_painted_text_is_what_one_would_write(base: str, places: list[tuple[int, int]], text: str) -> None:
    assert painted(base, cells(*places)) == text


def test_a_drawing_with_too_many_runs_is_refused_in_one_sentence() -> None:
    checkered = (torch.arange(60)[:, None] + torch.arange(60)) % 2 == 0
    with pytest.raises(MaskError) as refused:
        painted("causal", checkered)
    assert str(refused.value) == (
        "a painted mask must have at most 4000 characters, got 20714: "
        "paint fewer runs of cells, or write what they have in common"
    )


def test_cells_must_be_a_table() -> None:
    with pytest.raises(MaskError) as refused:
        painted("causal", torch.zeros(1, 2, 3, dtype=torch.bool))
    assert str(refused.value) == "painted cells must be a table [L, S] of at most 131072 each, got [1, 2, 3]"
