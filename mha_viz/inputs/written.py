"""Values written as text to tensors: words such as `True`, `0`, `-1e9`, `-inf`, in rows of equal length.

The words decide the number format, as they do for `torch.tensor`: all True or False is bool, else all whole is int64,
else float. Nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from mha_viz.errors import InputError

_WHOLE = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?|[+-]?nan", re.IGNORECASE)
_TRUTH = {"true": True, "false": False}
MAX_ELEMENTS = 2**24
"""Most values of a table, where the caller does not say otherwise."""

_INT64 = range(-(2**63), 2**63)
_LONGEST_WORD = 60


def from_table(text: str, *, header: bool = False, max_elements: int = MAX_ELEMENTS) -> torch.Tensor:
    """Read rows of values: one row a line, separated by tabs, semicolons, commas or spaces.

    Blank lines and lines that start with # are skipped.

    Args:
        text: The table.
        header: Whether a first line without any value is left out. Where the first field of the first line is empty,
            as pandas writes it, the first column is the index and is left out too.
        max_elements: Most values that are read.

    Returns:
        [rows, columns], bool, int64 or float32.

    Raises:
        InputError: There are no rows, or too many values, the rows differ in length, or a field is not a value.
    """
    lines = [line for line in text.replace('"', "").splitlines() if line.strip() and not line.lstrip().startswith("#")]
    sign = next((sign for sign in "\t;," if any(sign in line for line in lines)), None)
    head = _fields(lines[0], sign) if header and lines else []
    indexed = bool(head) and not head[0]
    if head and (indexed or not any(map(_is_value, head))):
        del lines[0]
    if not lines:
        raise InputError("the table has no row of values: write one row a line, such as 0, 1, 1.")
    total = sum(_width(line, sign) for line in lines)  # counted before a long line is cut into many small texts
    if total > max_elements:
        raise InputError(f"the table has {total:,} values; at most {max_elements:,} are read.")
    return from_rows([_without_index(line, sign) if indexed else line for line in lines], sign, (len(lines),))


def from_rows(
    rows: Sequence[str], sign: str | None, outer: tuple[int, ...], *, floats: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the tensor of rows of words.

    Args:
        rows: The rows, first to last.
        sign: What stands between the words of a row; None for white space.
        outer: The shape without the last dimension; its product is the number of rows.
        floats: What floats become: float32 or float64.

    Raises:
        InputError: The rows differ in length, or a word is not a value that the format can hold.
    """
    read: list[npt.NDArray[np.generic]] = []
    for number, row in enumerate(rows, 1):
        values = _row(row, sign, number)
        if read and len(values) != len(read[0]):
            lengths = f"length {len(values):,} where row 1 has length {len(read[0]):,}"
            raise InputError(f"row {number:,} has {lengths}.")
        read.append(values)
    kind = np.result_type(*{values.dtype for values in read})
    table = np.empty((len(read), len(read[0])), dtype=kind)
    for place, values in enumerate(read):
        table[place] = values
    tensor = torch.from_numpy(table)
    if tensor.is_floating_point():
        tensor = _narrowed(tensor, floats)
    return tensor.reshape(*outer, tensor.shape[1])


def no_values(number: int) -> InputError:
    """Return the error for an empty row, counted from 1."""
    return InputError(f"row {number:,} has no values.")


def _fields(line: str, sign: str | None) -> list[str]:
    fields = [field.strip() for field in line.split(sign)]
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


def _width(line: str, sign: str | None) -> int:
    if sign is None:
        return sum(1 for _ in re.finditer(r"\S+", line))
    return line.count(sign) + (not line.rstrip().endswith(sign))


def _without_index(line: str, sign: str | None) -> str:
    return line.partition(sign)[2] if sign else line


def _row(row: str, sign: str | None, number: int) -> npt.NDArray[np.generic]:
    fields = _fields(row, sign)
    if not fields:
        raise no_values(number)
    try:
        return np.array(list(map(_value, fields)))
    except ValueError:
        column, wrong = next((at, field) for at, field in enumerate(fields, 1) if not _is_value(field))
    where = f"row {number:,}, column {column:,}"
    if _WHOLE.fullmatch(wrong):
        raise InputError(f"{where} is {wrong[:40]}; whole numbers are from -2**63 to 2**63 - 1.")
    what = f"{wrong[:40]!r}, which is not a value" if wrong else "empty"
    raise InputError(f"{where} is {what}: write True, False, a number, inf, -inf or nan.")


@lru_cache(maxsize=2**16)
def _value(word: str) -> bool | int | float:
    """Read one word; a mask repeats few words often.

    Raises:
        ValueError: It is not a value.
    """
    if len(word) <= _LONGEST_WORD:
        word = word.replace("−", "-")
        if word.lower() in _TRUTH:
            return _TRUTH[word.lower()]
        if _WHOLE.fullmatch(word) and int(word) in _INT64:
            return int(word)
        if not _WHOLE.fullmatch(word) and _DECIMAL.fullmatch(word):
            return float(word)
    raise ValueError(word)


def _is_value(word: str) -> bool:
    try:
        _value(word)
    except ValueError:
        return False
    return True


def _narrowed(tensor: torch.Tensor, floats: torch.dtype) -> torch.Tensor:
    narrow = tensor.to(floats)
    lost = narrow.isinf() & ~tensor.isinf()
    if lost.any():
        row, column = (int(index) for index in lost.nonzero()[0])
        given = f"row {row + 1:,}, column {column + 1:,} is {tensor[row, column].item():.4g}"
        raise InputError(f"{given}; float32 numbers end at about 3.4e38.")
    return narrow
