from __future__ import annotations

import hashlib
import math
import re
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mha_viz.errors import InputError
from mha_viz.inputs.raw_mask_text import EMPTY, FILLED, MAX_CHARACTERS, parse_mask
from mha_viz.inputs.written_lists import DTYPES

INF = math.inf
CAUSAL = torch.ones(3, 4, dtype=torch.bool).triu(1)


def same(read: torch.Tensor, given: torch.Tensor) -> bool:
    """Compare values, shape and number format; NaN equals NaN."""
    numbers = read.to(torch.float64), given.to(torch.float64)
    return read.dtype == given.dtype and read.shape == given.shape and np.array_equal(*numbers, equal_nan=True)


def parsed(text: str) -> torch.Tensor:
    raw = parse_mask(text)
    (tensor,) = raw.tensors.values()
    return tensor


def refusal(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_mask(text)
    return str(caught.value)


def read_or_refused(text: str) -> None:
    message = ""
    try:
        tensor = parsed(text)
    except InputError as error:
        message = str(error)
    else:
        assert 1 <= tensor.dim() <= 4
        assert tensor.numel() > 0
    assert message.isprintable()
    assert len(message) < 300


# Lists

LISTS: dict[str, torch.Tensor] = {
    "[[True, False], [False, True]]": torch.tensor([[True, False], [False, True]]),
    "[[0, 1], [1, 1]]": torch.tensor([[0, 1], [1, 1]]),
    "[[0, -inf], [0, 0]]": torch.tensor([[0, -INF], [0, 0]]),
    '[[0., float("-inf")], [float( \'inf\' ), -float("inf")]]': torch.tensor([[0, -INF], [INF, -INF]]),
    "[[0, -torch.inf], [np.nan, math.inf]]": torch.tensor([[0, -INF], [math.nan, INF]]),
    "[np.True_, np.False_]": torch.tensor([True, False]),
    "[np.float64(0.0), np.float32(-inf), np.int64(1)]": torch.tensor([0, -INF, 1]),
    "[True, 2, False]": torch.tensor([1, 2, 0]),
    "[True, 0.5]": torch.tensor([1, 0.5]),
    "[-1e9, .5, 5., +1E-3]": torch.tensor([-1e9, 0.5, 5.0, 1e-3]),
    " \n[ [1,0 ,],\n [0, 1], ]\n": torch.tensor([[1, 0], [0, 1]]),
    "[[[1], [0]]]": torch.tensor([[[1], [0]]]),
    "[[[[1, 0]]], [[[0, 1]]]]": torch.tensor([[[[1, 0]]], [[[0, 1]]]]),
    "[1]": torch.tensor([1]),
    "torch.tensor([[0, 1]], dtype=torch.uint8)": torch.tensor([[0, 1]], dtype=torch.uint8),
    "mask = torch.tensor([[0, 1]], dtype=bool)": torch.tensor([[False, True]]),
    "np.array([[0., 1.]])": torch.tensor([[0, 1]], dtype=torch.float64),
    "np.array([[0, 1]], dtype=np.float32)": torch.tensor([[0.0, 1.0]]),
    "jnp.array([[0., 1.]], dtype='float16')": torch.tensor([[0, 1]], dtype=torch.float16),
    "Array([[ True, False]], dtype=bool)": torch.tensor([[True, False]]),
    "tensor([-1e9], dtype=torch.float16)": torch.tensor([-INF], dtype=torch.float16),
    "tensor([[0., -inf]], device='cuda:0', dtype=torch.float16, grad_fn=<AddBackward0>)": torch.tensor(
        [[0, -INF]], dtype=torch.float16
    ),
    "tensor([0.5], device=torch.device('cpu'), requires_grad=True)": torch.tensor([0.5]),
}


@pytest.mark.parametrize("text", LISTS)
def test_lists_are_read_as_they_are_written(text: str) -> None:
    assert same(parsed(text), LISTS[text])


@pytest.mark.parametrize(
    ("start", "role"),
    [
        ("", ""),
        ("x = ", ""),
        ("mask=", "attn_mask"),
        ("attn_mask = torch.tensor(", "attn_mask"),
        ("key_padding_mask = np.array(", "key_padding_mask"),
    ],
)
def test_the_name_of_an_argument_is_kept(start: str, role: str) -> None:
    raw = parse_mask(start + "[[1, 0]]" + ")" * ("(" in start))
    assert list(raw.tensors) == [role]


def test_a_mask_knows_the_text_it_came_from() -> None:
    raw = parse_mask("[[1, 0]]")
    assert raw.name == "pasted text"
    assert raw.digest == hashlib.sha256(b"[[1, 0]]").hexdigest()


SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
CELLS: dict[str, tuple[torch.dtype, Any]] = {
    "bool": (torch.bool, st.booleans()),
    "uint8": (torch.uint8, st.integers(0, 255)),
    "int64": (torch.int64, st.integers(-(2**63), 2**63 - 1)),
    "float16": (torch.float16, st.floats(width=16)),
    "float32": (torch.float32, st.floats(width=32)),
    "mask": (torch.float32, st.sampled_from([0.0, -INF, 1.0, -1e9, math.nan])),
}


def drawn(data: st.DataObject, kind: str) -> torch.Tensor:
    dtype, cells = CELLS[kind]
    shape = data.draw(SHAPES)
    size = math.prod(shape)
    return torch.tensor(data.draw(st.lists(cells, min_size=size, max_size=size)), dtype=dtype).reshape(shape)


every_kind = pytest.mark.parametrize("kind", CELLS)


@pytest.fixture
def whole_tensors() -> Any:
    """Print tensors and arrays in full, with all digits."""
    torch.set_printoptions(threshold=math.inf, precision=10)
    with np.printoptions(threshold=2**31, floatmode="unique"):
        yield
    torch.set_printoptions(profile="default")


@every_kind
@pytest.mark.usefixtures("whole_tensors")
@given(data=st.data())
def test_what_a_tensor_prints_reads_back(kind: str, data: st.DataObject) -> None:
    tensor = drawn(data, kind)
    read = parsed(str(tensor))
    assert read.dtype == tensor.dtype
    assert read.shape == tensor.shape
    torch.testing.assert_close(read, tensor, rtol=1e-3, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize("shape", [(300,), (3, 90), (2, 3, 40), (2, 2, 9, 30)], ids=str)
@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.usefixtures("whole_tensors")
def test_long_rows_that_wrap_read_back(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = (torch.arange(math.prod(shape)).reshape(shape) % 7 > 2).to(dtype)
    assert same(parsed(str(tensor)), tensor)
    assert same(parsed(f"  {tensor}\n\n"), tensor)
    if dtype != torch.bfloat16:
        assert same(parsed(repr(tensor.numpy())), tensor)
        assert torch.equal(parsed(str(tensor.numpy())).to(dtype), tensor)


@every_kind
@pytest.mark.usefixtures("whole_tensors")
@given(data=st.data())
def test_what_an_array_prints_reads_back(kind: str, data: st.DataObject) -> None:
    tensor = drawn(data, kind)
    assert same(parsed(repr(tensor.numpy())), tensor)
    bare = parsed(str(tensor.numpy()))
    assert same(bare.to(tensor.dtype), tensor)
    assert bare.dtype == (
        torch.float32 if tensor.is_floating_point() else tensor.dtype if kind == "bool" else torch.int64
    )


@every_kind
@given(data=st.data())
def test_the_repr_of_nested_lists_reads_back(kind: str, data: st.DataObject) -> None:
    tensor = drawn(data, kind)
    nested = tensor.tolist()
    expected = torch.tensor(nested)  # torch decides the number format by the same rule
    assert same(parsed(repr(nested)), expected)


@pytest.mark.parametrize("name", DTYPES)
def test_every_number_format_that_may_be_named_is_applied(name: str) -> None:
    assert same(parsed(f"tensor([[0, 1]], dtype={name})"), torch.tensor([[0, 1]], dtype=DTYPES[name]))


def test_the_names_of_number_formats_mean_what_they_mean_in_their_library() -> None:
    for name, dtype in DTYPES.items():
        if name.startswith("torch."):
            assert getattr(torch, name.removeprefix("torch.")) == dtype
        elif name != "bfloat16":
            named = {"float": float, "int": int, "bool": bool}.get(name, name.removeprefix("np."))
            assert torch.from_numpy(np.zeros(1, dtype=named)).dtype == dtype


# Drawings

DRAWINGS = {
    "0111\n0011\n0001": CAUSAL,
    "0 1 1 1\n0 0 1 1\n0 0 0 1\n": CAUSAL,
    "  .xxx\n  ..xx\n  ...x\n": CAUSAL,
    ".XXX\r\n..XX\r\n...X": CAUSAL,
    "\n. x x x\n\n. . x x\n. . . x\n\n": CAUSAL,
    "⬚■■■\n⬚⬚■■\n⬚⬚⬚■": CAUSAL,
    "⬚ ■ ■ ■\n⬚ ⬚ ■ ■\n⬚ ⬚ ⬚ ■": CAUSAL,
    "□███\n□□██\n□□□█": CAUSAL,
    ".###\n..##\n...#": CAUSAL,
    "111": torch.ones(1, 3, dtype=torch.bool),
    "0": torch.zeros(1, 1, dtype=torch.bool),
    ".": torch.zeros(1, 1, dtype=torch.bool),
    "1\n0": torch.tensor([[True], [False]]),
}


@pytest.mark.parametrize("text", DRAWINGS)
def test_filled_marks_and_ones_are_true(text: str) -> None:
    assert same(parsed(text), DRAWINGS[text])


@given(data=st.data())
def test_a_drawing_in_any_two_marks_reads_back(data: st.DataObject) -> None:
    cells = data.draw(st.integers(1, 6).flatmap(lambda w: st.lists(st.lists(st.booleans(), min_size=w, max_size=w))))
    cells = cells or [[True]]
    empty, filled = data.draw(st.sampled_from(EMPTY)), data.draw(st.sampled_from(FILLED))
    space = data.draw(st.sampled_from(["", " ", "  "]))
    text = "\n".join(space.join(filled if cell else empty for cell in row) for row in cells)
    assert same(parsed(text), torch.tensor(cells))


GREEN, YELLOW, RESET = "\033[92m", "\033[93m", "\033[0m"


def visualised(words: list[str], allowed: torch.Tensor, *, window: bool) -> str:
    """Print a mask in the layout of the mask visualiser of Hugging Face."""
    width = max(len(repr(word)) for word in words)
    numbers = " ".join(str(i % 10) for i in range(len(words)))
    lines = [
        f" {GREEN}■{RESET}: i == j (diagonal)   {YELLOW}■{RESET}: token_type_ids",
        " " * (width + 5) + "Attention Matrix".ljust(20) + ("Sliding Window Mask" if window else ""),
        " " * (width + 5) + numbers + f"    |    {numbers}",
    ]
    for i, word in enumerate(words):
        marks = ["■" if cell else "⬚" for cell in allowed[i].tolist()]
        marks[i] = f"{GREEN}■{RESET}"
        other = " ".join(reversed(marks)) if window else ""
        lines.append(f"{repr(word).ljust(width)}: {str(i).rjust(2)} {' '.join(marks)}    |    {other}")
    return "\n".join(["#" * 60, "##  Attention visualization for gpt2  ##", "#" * 60, *lines, "#" * 60])


@pytest.mark.parametrize("window", [True, False])
@pytest.mark.parametrize("words", [["[CLS]", "a: 1 ■", "|", "'"], ["x"], [f"w{i}" for i in range(12)]], ids=str)
def test_the_print_of_the_hugging_face_visualiser_is_read(words: list[str], window: bool) -> None:
    allowed = torch.ones(len(words), len(words), dtype=torch.bool).tril()
    text = visualised(words, allowed, window=window)
    assert same(parsed(text), allowed)
    assert same(parsed(text.replace("\033", "")), allowed)
    assert same(parsed(re.sub("\033\\[\\d+m", "", text)), allowed)


# Rows without brackets

ROWS = {
    "0,1\n1,1": torch.tensor([[0, 1], [1, 1]]),
    "True False\nFalse True": torch.tensor([[True, False], [False, True]]),
    "0 -inf\n0 0": torch.tensor([[0, -INF], [0, 0]]),
    "0. 1.\n1. 0.": torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
    "10 0 1\n0 1 0": torch.tensor([[10, 0, 1], [0, 1, 0]]),
    "-1 0": torch.tensor([[-1, 0]]),
}


@pytest.mark.parametrize("text", ROWS)
def test_rows_that_are_no_drawing_are_a_table(text: str) -> None:
    assert same(parsed(text), ROWS[text])


# What is refused

VALUES = "write True, False, a number, inf, -inf or nan."
ELIDED = (
    "the mask leaves cells out by '...': print it whole, after torch.set_printoptions(profile='full') "
    "or np.set_printoptions(threshold=2**31)."
)
CODE = "the list: only the list, or what a tensor or an array prints, is read, and no code."

REFUSED = {
    "": "the mask is empty: paste nested lists, a printed tensor, or rows of 0 and 1.",
    " \n\x1b[0m": "the mask is empty: paste nested lists, a printed tensor, or rows of 0 and 1.",
    str(torch.zeros(2_000, dtype=torch.bool)): ELIDED,
    str(np.zeros((50, 50))): ELIDED,
    "[[0, 1, …, 0]]": ELIDED,
    "[[[[[1]]]]]": "a mask has at most 4 dimensions, but its lists are nested deeper.",
    "[" * 100_000: "a mask has at most 4 dimensions, but its lists are nested deeper.",
    "[[1, 0]": "the mask has a '[' that is never closed: paste it whole.",
    "tensor([[1, 0]]": "the mask has a '(' that is never closed.",
    "[[1, 0]])": f"')' stands behind {CODE}",
    "[[1, 0]].bool()": f"'.bool()' stands behind {CODE}",
    "tensor([1, 0]).bool()": f"').bool()' stands behind {CODE}",
    "tensor([1, 0], dtype=torch.bool).cuda()": f"', dtype=torch.bool).cuda()' stands behind {CODE}",
    f"tensor([1], device=a{' ' * 1_000_000}!)": f"', device=a' stands behind {CODE}",
    "[1, 0] [0, 1]": f"'[0, 1]' stands behind {CODE}",
    "__import__('os').system('ls')[0]": f"\"__import__('os').system('ls')\" stands before {CODE}",
    "mask = torch.ones(3)\nmask[0] = [1]": f"'mask = torch.ones(3) mask' stands before {CODE}",
    ")": "row 1, column 1 is ')', which is not a value: " + VALUES,
    "[]": "row 1 has no values.",
    "[[1, 0], []]": "row 2 has no values.",
    "[[1, 0], [1]]": "row 2 has length 1 where row 1 has length 2.",
    "[[1, 0], 1]": "'1' stands beside a list: a list holds either lists or values, not both.",
    "[1, [0]]": "'1' stands beside a list: a list holds either lists or values, not both.",
    "[[[1], [0]], [[1]]]": "lists at depth 2 hold 2 and 1 lists: they must be even.",
    "[[[1]], [0]]": "lists at depth 2 hold 1 and 0 lists: they must be even.",
    "[[1],, [0]]": "'' stands beside a list: a list holds either lists or values, not both.",
    "[[1, 0 1]]": "row 1, column 2 is '0 1', which is not a value: " + VALUES,
    "[1,, 0]": "row 1, column 2 is empty: " + VALUES,
    "[[1, None]]": "row 1, column 2 is 'None', which is not a value: " + VALUES,
    "[[1, 2j]]": "row 1, column 2 is '2j', which is not a value: " + VALUES,
    "[1, (0)]": "row 1, column 2 is '(0)', which is not a value: " + VALUES,
    "[1, 1_0]": "row 1, column 2 is '1_0', which is not a value: " + VALUES,
    "[1, --inf]": "row 1, column 2 is '--inf', which is not a value: " + VALUES,
    '[-float("-inf")]': "row 1, column 1 is '--inf', which is not a value: " + VALUES,
    "[9e99]": "row 1, column 1 is 9e+99; float32 numbers end at about 3.4e38.",
    f"[{2**63}]": "row 1, column 1 is 9223372036854775808; whole numbers are from -2**63 to 2**63 - 1.",
    f"[{'9' * 50}]": f"row 1, column 1 is {'9' * 40}; whole numbers are from -2**63 to 2**63 - 1.",
    "tensor([1, 0], dtype=object)": "dtype must be a bool, int or float type of torch, not 'object'.",
    "tensor([-1], dtype=torch.uint8)": "the mask holds -1, which its dtype torch.uint8 cannot hold.",
    "tensor([0.5], dtype=torch.int64)": "the mask holds 0.5, which its dtype torch.int64 cannot hold.",
    "tensor([-inf], dtype=torch.int32)": "the mask holds -inf, which its dtype torch.int32 cannot hold.",
    "tensor(1.)": "row 1, column 1 is 'tensor(1.)', which is not a value: " + VALUES,
    "01\n0": "row 2 has length 1 where row 1 has length 2.",
    "..x\n10": "row 1, column 1 is '..x', which is not a value: " + VALUES,
    "hello": "row 1, column 1 is 'hello', which is not a value: " + VALUES,
    "# 0 1": "the table has no row of values: write one row a line, such as 0, 1, 1.",
    "1 0\n1": "row 2 has length 1 where row 1 has length 2.",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:30]))
def test_what_cannot_be_read_is_refused_with_a_reason(text: str) -> None:
    assert refusal(text) == REFUSED[text]


def test_a_text_that_is_too_long_is_refused() -> None:
    assert refusal("0" * (MAX_CHARACTERS + 1)) == "the mask has 4,000,001 characters; at most 4,000,000 are read."


@pytest.mark.parametrize(
    "text",
    [
        "[[" + "],[" * 1_300_000 + "]]",
        "[" + "0," * 1_990_000 + "]",
        "[" + "0 " * 1_990_000 + "]",
        "x" * 3_990_000 + "[",
        "[1]" + " " * 3_990_000 + ".",
        "[1]" + ", device=a" * 390_000,
        "[" + "float(" * 600_000 + "]",
        "[" + "(_" * 1_900_000 + "]",
        ": 1 ■ ■" * 500_000,
        ": 1" + " ■" * 1_900_000 + "x",
        ":" * 3_990_000 + "■",
        "\x1b[1;" * 900_000,
        "\n".join(["0" * 1_999, *["1"] * 1_000_000]),
        ", " * 1_900_000,
        "9" * 3_990_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_long_text_is_read_or_refused_in_seconds(text: str) -> None:
    start = time.perf_counter()
    read_or_refused(text)
    assert time.perf_counter() - start < 20


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    read_or_refused(text)


PIECES = ["[", "]", "[[", "]]", ",", " ", "\n", "0", "1", "True", "-inf", "nan", "1e9", "...", "tensor(", ")", "dtype="]
PIECES += ["torch.", "bool", "float(", '"', "'", "■", "⬚", ": 1 ", "|", "#", "x", ".", "\x1b[92m", "=", "\t", ";", "m"]


@given(st.lists(st.sampled_from(PIECES), max_size=30))
def test_any_mixture_of_what_masks_are_written_in_is_read_or_refused(pieces: list[str]) -> None:
    read_or_refused("".join(pieces))
