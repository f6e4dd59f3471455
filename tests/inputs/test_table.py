from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mha_viz.errors import InputError
from mha_viz.inputs.table import format_table, parse_table

ROWS = [[1.0, -2.5], [0.25, 4000.0]]

READ = {
    "1,-2.5\n.25,4e3": (ROWS, ()),
    "1, -2.5\r\n0.25, +4000\r\n": (ROWS, ()),
    "1\t-2.5\n0.25\t4000": (ROWS, ()),
    "1;-2.5\n0.25;4000": (ROWS, ()),
    "  1   -2.5 \n\n# note, with comma\n0.25 4000\n": (ROWS, ()),
    "1\u00a0-2.5\n0.25\u20094000": (ROWS, ()),
    "1,\u22122.5\n0.25,4000": (ROWS, ()),
    "1,-2.5,\n0.25,4000,": (ROWS, ()),
    "the,1,-2.5\ncat,0.25,4000": (ROWS, ("the", "cat")),
    "the 1 -2.5\ncat 0.25 4000": (ROWS, ("the", "cat")),
    "the\t1\t-2.5\n3.14\t0.25\t4000": (ROWS, ("the", "3.14")),
    '"a, ""b""",1,-2.5\n"#",0.25,4000': (ROWS, ('a, "b"', "#")),
    ";,1,-2.5\nb,0.25,4000": (ROWS, (";", "b")),
    "x,y\n1,-2.5\n0.25,4000": (ROWS, ()),
    "token,x,y\n1,1,-2.5\nnan,0.25,4000": (ROWS, ("1", "nan")),
    "Label;x;y\nb;1;-2.5\n7;0.25;4000": (ROWS, ("b", "7")),
    ",0,1\n0,1,-2.5\n1,0.25,4000": (ROWS, ("0", "1")),
    ",1,-2.5\nb,0.25,4000": (ROWS, ("", "b")),
    "1;-2,5\n0,25;4000": (ROWS, ()),
    "1\t-2,5\n,25\t4e3": (ROWS, ()),
    "<b>x</b>,1,-2.5\n=1+1,0.25,4000": (ROWS, ("<b>x</b>", "=1+1")),
    "5": ([[5.0]], ()),
    "cat,5": ([[5.0]], ("cat",)),
    "a\n5\n6": ([[5.0], [6.0]], ()),
}


@pytest.mark.parametrize(("text", "expected"), READ.items())
def test_a_table_is_read(text: str, expected: tuple[list[list[float]], tuple[str, ...]]) -> None:
    table = parse_table(text)
    assert table.values.dtype == torch.float32
    assert table.values.tolist() == expected[0]
    assert table.labels == expected[1]


def test_nan_and_infinity_are_kept() -> None:
    first, second, third = parse_table("nan, inf, -Infinity").values[0].tolist()
    assert math.isnan(first)
    assert (second, third) == (math.inf, -math.inf)


REFUSED = {
    "": "table must hold at least one row of numbers, but it has none: give one token a line.",
    "# only a note\n\n": "table must hold at least one row of numbers, but it has none: give one token a line.",
    "x,y": "table must hold at least one row of numbers, but it has none: give one token a line.",
    "1,2,3,4,5\n1,2,3,4,5\n1,2,3,4": "row 3 has 4 numbers where row 1 has 5.",
    "token,x,y\na,1,2\nb,1": "row 2 has 1 number where row 1 has 2.",
    "a\nb\n": "row 1 has a label and no numbers: give its numbers on the same line.",
    "1,2\n3,x": "row 2, column 2 is 'x', which is not a number.",
    "1,2,x": "row 1, column 3 is 'x', which is not a number.",
    "a,1,2\nb,3,x": "row 2, column 3 is 'x', which is not a number.",
    "1,2\ncat,3": "row 2, column 1 is 'cat', which is not a number.",
    "1,,2": "row 1, column 2 is empty where a number is needed.",
    "1,2\n3,1_0": "row 2, column 2 is '1_0', which is not a number.",
    "1,2\n3,1+2j": "row 2, column 2 is '1+2j', which is not a number.",
    "1,2\n3,__import__('os')": "row 2, column 2 is \"__import__('os')\", which is not a number.",
    "0,5 1,5\n2,5 3,5": "row 1, column 2 is '5 1', which is not a number.",
    "1,5;2.5": "row 1, column 1 is '1,5' and another number is '2.5': use either points or commas.",
    "1,234;5,678": "row 1, column 1 is '1,234', which may be 1.234 or 1234: write a point or leave out the comma.",
    "1,1e39": "row 1, column 2 is '1e39'; float32 numbers end at about 3.4e38.",
    "1,-1e999": "row 1, column 2 is '-1e999'; float32 numbers end at about 3.4e38.",
    '"a,1\n"b",2': "quotes must be closed and fill their field, but a line is '\"a,1'.",
    '"a"b,1': "quotes must be closed and fill their field, but a line is '\"a\"b,1'.",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items())
def test_a_wrong_table_is_refused_in_one_sentence(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_table(text)
    assert str(caught.value) == message


def test_limits_are_checked() -> None:
    with pytest.raises(InputError, match=r"^table has 2,000,001 characters; at most 2,000,000 are read\.$"):
        parse_table("1" * 2_000_001)
    with pytest.raises(InputError, match=r"^table has 3 rows of 2 numbers, 6 in all; at most 5 are read\.$"):
        parse_table("1,2\n3,4\n5,6", max_numbers=5)
    assert parse_table("1,2\n3,4", max_numbers=4, max_characters=7).values.shape == (2, 2)


numbers = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(width=32)
)


@given(numbers, st.data())
def test_what_is_written_is_read_back(values: np.ndarray, data: st.DataObject) -> None:
    texts = st.lists(st.text(max_size=6), min_size=len(values), max_size=len(values))
    labels = data.draw(st.one_of(st.just([]), texts))
    table = parse_table(format_table(torch.from_numpy(values), labels))
    np.testing.assert_array_equal(table.values.numpy(), values)
    assert np.array_equal(np.signbit(table.values.numpy())[~np.isnan(values)], np.signbit(values)[~np.isnan(values)])
    assert table.labels == tuple(" ".join(label.split()) for label in labels)


@given(st.text(alphabet=st.sampled_from("0123456789.,;\t \n#\"'aenif-+\r_"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    message = ""
    try:
        table = parse_table(text)
    except InputError as error:
        message = str(error)
    else:
        assert table.values.dim() == 2
        assert table.values.numel() > 0
        assert len(table.labels) in (0, len(table.values))
    assert "\n" not in message


@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, 0), (1, 1, 1)])
def test_only_a_table_is_written(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError) as caught:
        format_table(torch.zeros(shape))
    assert str(caught.value) == f"values must be [rows, columns] with at least one number, not {list(shape)}."


def test_labels_must_be_one_for_each_row() -> None:
    with pytest.raises(InputError, match=r"^labels must be one for each of the 2 rows, not 3\.$"):
        format_table(torch.zeros(2, 2), ["a", "b", "c"])
