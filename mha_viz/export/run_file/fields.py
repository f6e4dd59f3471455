"""JSON objects of a run file, read field by field: what is not as it should be is said in one sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mha_viz.errors import InputError
from mha_viz.export.run_file.layout import NOT_FINITE

MOST = 2**53
"""Largest whole number that is read."""


@dataclass(frozen=True)
class Fields:
    """One object: `at` is what messages call it, such as `layers.3.`, and `values` are its fields."""

    at: str
    values: Mapping[str, Any]

    @classmethod
    def of(cls, value: object, at: str, names: Collection[str]) -> Fields:
        """Return an object that has just these fields.

        Raises:
            InputError: It is none, or has others.
        """
        if not isinstance(value, dict):
            raise InputError(f"{at.rstrip('.') or 'the run'} must be an object with fields, not {_shown(value)}.")
        for name in names:
            if name not in value:
                raise InputError(f"{at}{name} is missing.")
        for name in value:
            if name not in names:
                raise InputError(f"{at.rstrip('.') or 'the run'} has a field {name[:40]!r}, which is not known.")
        return cls(at, value)

    def inner(self, name: str, names: Collection[str]) -> Fields:
        """Return the object in a field."""
        return Fields.of(self.values[name], f"{self.at}{name}.", names)

    def wrong(self, name: str, allowed: str) -> InputError:
        """Return the error that a field has a value which is not allowed."""
        return InputError(f"{self.at}{name} must be {allowed}, not {_shown(self.values[name])}.")

    def text(self, name: str, choices: Collection[str] = ()) -> str:
        """Return a text, one of `choices` if there are any."""
        value = self.values[name]
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.wrong(name, f"one of {', '.join(choices)}" if choices else "a text")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.values[name]
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def whole(self, name: str, low: int = 0, high: int = MOST) -> int:
        """Return a whole number in bounds."""
        value = self.values[name]
        if not _is_whole(value, low, high):
            raise self.wrong(name, f"a whole number from {low:,} to {high:,}")
        return int(value)

    def number(self, name: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a number in bounds; without bounds it may be NaN or infinite."""
        value = self.values[name]
        if isinstance(value, str) and math.isinf(low) and math.isinf(high):
            value = NOT_FINITE.get(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < low or value > high:
            raise self.wrong(name, "a number" if math.isinf(low) else f"a number from {low:g} to {high:g}")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.values[name]
        if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
            raise self.wrong(name, "a list of texts")
        return tuple(value)

    def wholes(self, name: str, count: int, high: int = MOST) -> tuple[int, ...]:
        """Return a list of `count` whole numbers from 0 to `high`."""
        value = self.values[name]
        if not isinstance(value, list) or len(value) != count or not all(_is_whole(i, 0, high) for i in value):
            raise self.wrong(name, f"{count:,} whole numbers from 0 to {high:,}")
        return tuple(value)

    def given(self, name: str) -> bool:
        """Return whether a field that may be null is something else."""
        return self.values[name] is not None


class Tensors:
    """The tensors of a file by name; each must be used, or the file is not what it says."""

    def __init__(self, named: Mapping[str, Tensor]) -> None:
        self._named = named
        self._left = set(named)

    def take(self, fields: Fields, name: str, dims: Collection[int], *, floating: bool = True) -> Tensor:
        """Return the tensor that a field names, of one of the given numbers of dimensions."""
        key = fields.text(name)
        if key not in self._named:
            raise InputError(f"{fields.at}{name} is the tensor {key[:60]!r}, which the file does not hold.")
        self._left.discard(key)
        tensor = self._named[key]
        if tensor.dim() not in dims or (floating and not tensor.is_floating_point()):
            kind = f"{str(tensor.dtype).removeprefix('torch.')} with {tensor.dim()} dimensions"
            wanted = " or ".join(str(n) for n in dims)
            raise InputError(f"{fields.at}{name} must be a float tensor with {wanted} dimensions, not {kind}.")
        return tensor

    def take_any(self, fields: Fields, name: str) -> Tensor | None:
        """Return the tensor of any shape and number format that a field names, None if it names none."""
        return self.take(fields, name, range(1, 9), floating=False) if fields.given(name) else None

    def check_all_taken(self) -> None:
        """Raise `InputError` if a tensor belongs to nothing."""
        if self._left:
            raise InputError(f"the tensor {min(self._left)[:60]!r} belongs to nothing in the run.")


def _is_whole(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
