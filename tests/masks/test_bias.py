"""Score biases: values against plain loops, ALiBi against its paper, text and errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mha_viz.errors import MaskError
from mha_viz.masks import BIASES, ScoreBias, score_bias
from tests.masks.oracles import positions
from tests.masks.strategies import biases, sizes

SIZE = {"batch_size": 2, "num_heads": 4, "query_len": 5, "key_len": 7}


@pytest.mark.parametrize("heads", [1, 2, 4, 8, 6])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_alibi_is_a_slope_for_each_head_times_the_distance(heads: int, scale: float) -> None:
    values = score_bias(f"alibi({scale})").values(6, 4, num_heads=heads, dtype=torch.float64)
    assert values.shape == (heads, 6, 4)
    for head in range(heads):
        slope = scale * 2 ** (-8 * (head + 1) / heads)
        expected = [[-slope * abs(query - key) for key in range(4)] for query in range(6)]
        torch.testing.assert_close(values[head], torch.tensor(expected, dtype=torch.float64))


def test_alibi_slopes_of_eight_heads_are_those_of_the_paper() -> None:
    values = score_bias("alibi").values(2, num_heads=8)
    assert (-values[:, 0, 1]).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]


@pytest.mark.parametrize(
    ("text", "says", "shape"),
    [
        ("-0.5 * abs(q - k)", lambda at: -0.5 * abs(at.q - at.k), (5, 7)),
        ("2", lambda at: 2, (5, 7)),
        ("q / 2 - k ** 2", lambda at: at.q / 2 - at.k**2, (5, 7)),
        ("-q ** 2", lambda at: -(at.q**2), (5, 7)),
        ("(q - k) // 2 + (q - k) % 3", lambda at: (at.q - at.k) // 2 + (at.q - at.k) % 3, (5, 7)),
        ("min(q, 2.5) * max(h, 1)", lambda at: min(at.q, 2.5) * max(at.h, 1), (4, 5, 7)),
        ("(b + 1) * N - S + L", lambda at: (at.b + 1) * at.N - at.S + at.L, (2, 1, 5, 7)),
        ("b * h * 1e-3", lambda at: at.b * at.h * 1e-3, (2, 4, 5, 7)),
    ],
)
def test_values_are_those_of_plain_loops(text: str, says, shape: tuple[int, ...]) -> None:
    values = score_bias(text).values(**SIZE, dtype=torch.float64)
    expected = torch.tensor([says(at) for at in positions(2, 4, 5, 7)], dtype=torch.float64)
    assert values.shape == shape
    assert values.is_contiguous()
    torch.testing.assert_close(values.expand(2, 4, 5, 7), expected.reshape(2, 4, 5, 7))


@given(biases)
def test_what_is_printed_reads_back_the_same(bias: ScoreBias) -> None:
    assert score_bias(str(bias)) == bias
    assert repr(score_bias(str(bias))) == repr(bias)
    assert hash(score_bias(str(bias))) == hash(bias)


@given(biases, sizes, st.data())
def test_a_block_is_a_slice_of_the_whole(bias: ScoreBias, size, data: st.DataObject) -> None:
    rows = slice(data.draw(st.integers(0, size["query_len"])), None)
    cols = slice(None, data.draw(st.integers(0, size["key_len"])))
    block, whole = bias.values(**size, rows=rows, cols=cols), bias.values(**size)[..., rows, cols]
    torch.testing.assert_close(block, whole, equal_nan=True)


def test_dtype_is_the_one_asked_for() -> None:
    assert score_bias("q").values(3).dtype == torch.float32
    assert score_bias("q").values(3, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_division_by_zero_and_overflow_are_shown_and_not_raised() -> None:
    assert score_bias("1 / (q - k)").values(2)[0].tolist() == [math.inf, -1.0]
    assert score_bias("9 ** 9 ** 9").values(1).item() == math.inf
    assert score_bias("1 / (N - 1)").values(1).item() == math.inf
    assert math.isnan(score_bias("0 / 0").values(1).item())
    assert math.isnan(score_bias("q % 0").values(1).item())
    assert math.isnan(score_bias("(-1) ** 0.5").values(1).item())
    assert score_bias("1e300").values(1).item() == math.inf  # too large for float32


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("alibi", "alibi"),
        ("alibi(0.5)", "alibi(0.5)"),
        ("alibi(scale=2)", "alibi(2.0)"),
        ("(2**-q)**3", "(2 ** -q) ** 3"),
        ("2**(q**3)", "2 ** q ** 3"),
        ("(-3)**2 - -3**2", "(-3) ** 2 - -3 ** 2"),
        ("q/(k/2)*2", "q / (k / 2) * 2"),
        ("-(-q)", "--q"),
        ("1e-5*(q-k)", "1e-05 * (q - k)"),
    ],
)
def test_printing_uses_the_fewest_parentheses(typed: str, printed: str) -> None:
    assert str(score_bias(typed)) == printed
    assert score_bias(printed) == score_bias(typed)


@pytest.mark.parametrize("name", BIASES)
def test_every_named_bias_is_documented_and_its_example_reads_back(name: str) -> None:
    pattern = BIASES[name]
    assert pattern.summary.endswith(".")
    assert str(score_bias(pattern.example)) == pattern.example
    assert score_bias(pattern.example).variables >= {"q", "k"}


def test_variables_are_those_mentioned_once_spelt_out() -> None:
    assert score_bias("alibi").variables == {"h", "H", "q", "k"}


@pytest.mark.parametrize(
    ("text", "position", "sentence"),
    [
        ("", 0, "a score bias must not be empty"),
        (
            "alibbi",
            0,
            "unknown name 'alibbi' at position 0: did you mean 'alibi'? "
            "Known names: b, h, q, k, N, H, L, S, abs, min, max, alibi",
        ),
        ("0.1 * causal", 6, "a number is expected at position 6, but 'causal' is a mask"),
        ("q < 3", 0, "a number is expected at position 0, but 'q < 3' is a mask"),
        ("1e999", 0, "a number must be finite, got one too large for float64 (at position 0)"),
        (
            "alibi(-1)",
            0,
            "wrong arguments for alibi(scale=1.0): scale must be from 0 to 1000, got -1 (at position 0)",
        ),
        ("'a'", 0, """"'" at position 0 has no place in a score bias"""),
    ],
)
def test_what_is_no_bias_is_refused_in_one_sentence(text: str, position: int, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        score_bias(text)
    assert str(refused.value) == sentence
    assert refused.value.position == position
