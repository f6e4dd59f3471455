"""Masks typed or pasted as text: nested lists, printed tensors and arrays, tables, and drawings in characters.

Nothing is evaluated. What comes out says only what was written: whether True means *attend* or *ignore* is left open.
"""

from __future__ import annotations

import hashlib
import re

import numpy as np
import torch

from mha_viz.errors import InputError
from mha_viz.inputs.raw_mask import ROLES, RawMask
from mha_viz.inputs.written import from_table
from mha_viz.inputs.written_lists import from_lists

MAX_CHARACTERS = 4_000_000
"""Longest text that is read, in characters."""

EMPTY, FILLED = "0.⬚□", "1xX■█#"
"""The marks of a drawing: False, and True."""

_COLOUR = re.compile(r"\x1b?\[[0-9]{1,3}(?:;[0-9]{1,3}){0,4}m")
_LABELLED = re.compile(r".*: {1,4}[0-9]+ ([■⬚][■⬚ ]*+)(?:\|.*)?")


def parse_mask(text: str) -> RawMask:
    """Read a mask that somebody typed or pasted.

    These are read:

    - nested lists: `[[0, -inf], [0, 0]]`, with True, False, numbers, inf, nan, `float("-inf")` and `torch.inf`;
    - what a tensor or an array prints: `tensor([[0., -inf]], dtype=torch.float16)`, `array([...])`, `[[ True False]]`;
    - drawings: rows of 0 and 1, or of one of `. ⬚ □` and one of `x X ■ █ #`, with or without spaces. Filled marks and 1
      are True. Of what the mask visualiser of Hugging Face prints, the left drawing is read; note that it draws the
      diagonal filled, whatever the mask says;
    - other rows of values without brackets, separated by commas, tabs, semicolons or spaces.

    True and False give bool, whole numbers int64, others float32 (float64 in NumPy's `array(...)`), unless the text
    names a dtype. A drawing gives bool [L, S]; lists keep their 1 to 4 dimensions. A name before the text, such as
    `key_padding_mask = `, is kept if it is that of an argument.

    Args:
        text: At most 4,000,000 characters.

    Raises:
        InputError: The text is empty or too long, leaves cells out by `...`, or cannot be read.
    """
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"the mask has {len(text):,} characters; at most {MAX_CHARACTERS:,} are read.")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    text = _COLOUR.sub("", text)
    if not text.strip():
        raise InputError("the mask is empty: paste nested lists, a printed tensor, or rows of 0 and 1.")
    tensor, name = _drawing(text), ""
    if tensor is None:
        name, tensor = from_lists(text) if "[" in text else ("", from_table(text))
    return RawMask({ROLES.get(name, ""): tensor}, "pasted text", digest)


def _drawing(text: str) -> torch.Tensor | None:
    """Return a bool [rows, columns] if the text is a drawing, True where filled."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [found[1] for line in lines if (found := _LABELLED.fullmatch(line))] or lines
    words = [line.split() for line in lines]
    rows = ["".join(row) for row in words]
    marks = set("".join(rows))
    if not marks <= {*EMPTY, *FILLED} or len(marks & {*EMPTY}) > 1 or len(marks & {*FILLED}) > 1:
        return None
    in_single_marks = all(len(word) == 1 for row in words for word in row)
    if not in_single_marks and any(len(row) > 1 for row in words):
        return None  # numbers of several digits, such as 10 0 1
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(f"row {number:,} has length {len(row):,} where row 1 has length {len(rows[0]):,}.")
    codes = np.frombuffer("".join(rows).encode("utf-32-le"), dtype="<u4").reshape(len(rows), -1)
    return torch.from_numpy(np.isin(codes, [ord(mark) for mark in FILLED]))
