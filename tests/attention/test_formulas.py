"""The arithmetic of one cell as LaTeX, with its numbers."""

from __future__ import annotations

import math
import re

import pytest

from mha_viz.attention.formulas import number, of_cell
from mha_viz.attention.trace import trace
from tests.attention.test_layer import scenario


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (1.23456, "1.23"),
        (-0.5, "-0.5"),
        (0.0, "0"),
        (1234.0, r"1.23 \times 10^{3}"),
        (-4.56e-7, r"-4.56 \times 10^{-7}"),
        (math.inf, r"\infty"),
        (-math.inf, r"-\infty"),
        (math.nan, r"\text{NaN}"),
    ],
)
def test_numbers_have_three_digits(value: float, said: str) -> None:
    assert number(value) == said


def test_the_formula_holds_the_cells_own_numbers() -> None:
    found = trace(scenario(query_len=5, mask="causal"))
    cell = found.arithmetic(0, 1, 3, 2)
    q, k = found["q_heads"][0, 1, 3], found["k_heads"][0, 1, 2]
    text = of_cell(cell)
    assert text.startswith(r"\begin{aligned} q \cdot k &= ")
    for value in (q[0], k[0], q @ k, found["masked"][0, 1, 3, 2], found["softmax"][0, 1, 3, 2]):
        assert number(float(value)) in text
    assert r"\sqrt{4}" in text
    assert len(re.findall(r" \\\\ ", text)) == 2
    assert r"\text{weight}" not in text


def test_three_terms_of_a_long_product_are_written_out_and_all_of_a_short_one() -> None:
    long, short = (of_cell(trace(scenario(embed_dim=d, query_len=2)).arithmetic(0, 0, 0, 0)) for d in (16, 8))
    assert r" + \cdots = " in long
    assert r"\cdots" not in short


def test_masked_cells_temperature_and_dropout_show() -> None:
    s = scenario(query_len=4, mask="causal", dropout=0.5, training=True)
    cell = trace(s, edits="temperature = 0.5").arithmetic(0, 0, 0, 3)
    text = of_cell(cell)
    assert r"\sqrt{4} \cdot 0.5" in text
    assert r"+ (-\infty) = -\infty" in text
    assert text.endswith(rf"\text{{weight}} &= 0 \cdot {number(cell.factor or 0)} = 0 \end{{aligned}}")


def test_a_row_without_a_key_is_not_a_number() -> None:
    assert of_cell(trace(scenario(query_len=3, mask="k < q")).arithmetic(0, 0, 0, 0)).count(r"\text{NaN}") >= 3
