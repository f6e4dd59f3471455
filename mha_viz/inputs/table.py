"""Numbers typed or pasted as a table, one token a line: `parse_table` reads them, `format_table` writes them."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

import numpy as np
import torch

from mha_viz.errors import InputError

MAX_CHARACTERS = 2_000_000
"""Longest text that is read, in characters, where the caller does not say otherwise."""

MAX_NUMBERS = 1_000_000
"""Most numbers that are read, where the caller does not say otherwise."""

_LABEL_HEADS = {"token", "tokens", "label", "labels"}
_QUOTED = re.compile(r'(?:(?<=[\t;,\s])|^)"(?:[^"]|"")*"')
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")


@dataclass(frozen=True, eq=False)
class Table:
    """Numbers and token labels.

    Attributes:
        values: float32 [rows, columns] on the CPU; nan and inf are kept.
        labels: One text for each row, or empty when the table has none.
    """

    values: torch.Tensor
    labels: tuple[str, ...] = ()


def parse_table(text: str, *, max_characters: int = MAX_CHARACTERS, max_numbers: int = MAX_NUMBERS) -> Table:
    r"""Read a table: one token a line, its numbers separated by commas, tabs, semicolons or spaces.

    The first column may hold labels: it does when the first row starts with something that is not a number, or when a
    header line starts with "token" or "label". A header line holds no number after its first field. Blank lines and
    lines that start with # are skipped; quotes work as in CSV files. Between tabs, semicolons or spaces a decimal comma
    is read (0,5) unless it could as well separate thousands (1,234). Rows and columns are counted from 1, the header
    left out.

    Args:
        text: The table.
        max_characters: Longest text that is read.
        max_numbers: Most numbers that are read.

    Raises:
        InputError: The text is too long, holds no numbers, or one row cannot be read.
    """
    if len(text) > max_characters:
        raise InputError(f"table has {len(text):,} characters; at most {max_characters:,} are read.")
    lines = [line.strip(" \r") for line in re.sub(r"[^\S\t\r\n]", " ", text).replace("\r", "\n").split("\n")]
    lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    delimiter = _delimiter(lines)
    rows = [_fields(line, delimiter) for line in lines]
    head = rows.pop(0) if rows and _is_header(rows[0]) else None
    if not rows:
        raise InputError("table must hold at least one row of numbers, but it has none: give one token a line.")
    labelled = head[0].lower() in {*_LABEL_HEADS, ""} if head else False
    labelled = labelled or not _is_number(rows[0][0])
    labels = tuple(" ".join(row[0].split()) for row in rows) if labelled else ()
    cells = [row[labelled:] for row in rows]
    _check_shape(cells, max_numbers)
    if delimiter != ",":
        cells = _with_points(cells, int(labelled))
    numbers = [[_number(cell, r, c) for c, cell in enumerate(row, 1 + labelled)] for r, row in enumerate(cells, 1)]
    return Table(torch.tensor(numbers, dtype=torch.float64).to(torch.float32), labels)


def format_table(values: torch.Tensor, labels: tuple[str, ...] | list[str] = ()) -> str:
    """Write a table that `parse_table` reads back to the same float32 numbers and labels.

    Args:
        values: Numbers, [rows, columns].
        labels: One text for each row, or none; each run of whitespace in a label becomes one space.

    Raises:
        InputError: `values` is not a table of at least one number, or the labels are not one for each row.
    """
    if values.dim() != 2 or values.numel() == 0:
        raise InputError(f"values must be [rows, columns] with at least one number, not {list(values.shape)}.")
    if labels and len(labels) != len(values):
        raise InputError(f"labels must be one for each of the {len(values)} rows, not {len(labels)}.")
    numbers = [[f"{value:.9g}" for value in row] for row in values.to(torch.float32).tolist()]
    if not labels:
        return "".join(",".join(row) + "\n" for row in numbers)
    quoted = ('"' + " ".join(label.split()).replace('"', '""') + '"' for label in labels)
    head = ",".join(["token", *(f"x{column}" for column in range(values.shape[1]))])
    return f"{head}\n" + "".join(",".join([label, *row]) + "\n" for label, row in zip(quoted, numbers, strict=True))


def _delimiter(lines: list[str]) -> str:
    """Return the sign that every line holds outside quotes (one label or header more or less does not decide)."""
    bare = [_QUOTED.sub("", line) for line in lines]
    for sign in "\t;,":
        if bare and all(sign in line for line in bare):
            return sign
    return next((sign for sign in "\t;," if any(sign in line for line in bare)), " ")


def _fields(line: str, delimiter: str) -> list[str]:
    try:
        fields = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        raise InputError(f"quotes must be closed and fill their field, but a line is {line[:40]!r}.") from None
    fields = [field.strip() for field in fields]
    return fields[:-1] if len(fields) > 1 and not fields[-1] else fields


def _float(text: str) -> float | None:
    text = text.replace("−", "-")
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _is_number(text: str) -> bool:
    return _float(text) is not None or bool(_DECIMAL_COMMA.fullmatch(text))


def _is_header(fields: list[str]) -> bool:
    first, *others = fields
    if not first:  # as pandas writes it: nothing, then the numbers of the columns
        return others == [str(column) for column in range(len(others))]
    return not any(map(_is_number, fields))


def _check_shape(cells: list[list[str]], max_numbers: int) -> None:
    width = len(cells[0])
    if not width:
        raise InputError("row 1 has a label and no numbers: give its numbers on the same line.")
    for row, fields in enumerate(cells, 1):
        if len(fields) != width:
            count = f"{len(fields)} number{'' if len(fields) == 1 else 's'}"
            raise InputError(f"row {row} has {count} where row 1 has {width}.")
    if len(cells) * width > max_numbers:
        raise InputError(
            f"table has {len(cells):,} rows of {width:,} numbers, {len(cells) * width:,} in all; at most "
            f"{max_numbers:,} are read."
        )


def _with_points(cells: list[list[str]], labelled: int) -> list[list[str]]:
    """Turn decimal commas into points, or refuse where they may mean something else."""
    found = [
        (field, row, column)
        for row, fields in enumerate(cells, 1)
        for column, field in enumerate(fields, 1 + labelled)
        if _DECIMAL_COMMA.fullmatch(field) or _THOUSANDS.fullmatch(field)
    ]
    if not found:
        return cells
    field, row, column = found[0]
    pointed = next((other for fields in cells for other in fields if "." in other), None)
    if pointed is not None:
        raise InputError(
            f"row {row}, column {column} is {field!r} and another number is {pointed!r}: use either points or commas."
        )
    if all(_THOUSANDS.fullmatch(other) for other, _, _ in found):
        raise InputError(
            f"row {row}, column {column} is {field!r}, which may be {field.replace(',', '.', 1)} or "
            f"{field.replace(',', '')}: write a point or leave out the comma."
        )
    return [[field.replace(",", ".") if _DECIMAL_COMMA.fullmatch(field) else field for field in row] for row in cells]


def _number(text: str, row: int, column: int) -> float:
    value = _float(text)
    if value is None:
        given = f"{text[:40]!r}, which is not a number" if text else "empty where a number is needed"
        raise InputError(f"row {row}, column {column} is {given}.")
    with np.errstate(over="ignore"):
        overflows = np.isinf(np.float32(value)) and "inf" not in text.lower()
    if overflows:
        raise InputError(f"row {row}, column {column} is {text[:40]!r}; float32 numbers end at about 3.4e38.")
    return value
