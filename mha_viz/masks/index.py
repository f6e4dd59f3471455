"""Numbers made of the indices of a position: what masks compare, and what score biases are.

    b h q k    the batch item, head, query position and key position
    N H L S    how many there are of each

With these variables the language can be written in Python as it is in text: `(k <= q) & (abs(q - k) <= 4)`.
"""

# ruff: noqa: D102  (what fold does is said once, in Expression)

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import TypeAlias, TypeVar

from mha_viz.errors import MaskError
from mha_viz.masks.base import Comparison, Expression, Mask
from mha_viz.masks.interpretation import Interpretation

T = TypeVar("T")
Operand: TypeAlias = "Index | int | float"
LARGEST_LITERAL = 2**31


class Index(Expression):
    """A number at each position. Comparing it, with `==` too, makes a `Mask`; compare `str()` to tell two apart."""

    __hash__ = Expression.__hash__

    def __add__(self, other: Operand) -> Index:
        return Arithmetic("+", self, _index(other))

    def __radd__(self, other: int | float) -> Index:
        return Arithmetic("+", _index(other), self)

    def __sub__(self, other: Operand) -> Index:
        return Arithmetic("-", self, _index(other))

    def __rsub__(self, other: int | float) -> Index:
        return Arithmetic("-", _index(other), self)

    def __mul__(self, other: Operand) -> Index:
        return Arithmetic("*", self, _index(other))

    def __rmul__(self, other: int | float) -> Index:
        return Arithmetic("*", _index(other), self)

    def __floordiv__(self, other: Operand) -> Index:
        return Arithmetic("//", self, _index(other))

    def __rfloordiv__(self, other: int | float) -> Index:
        return Arithmetic("//", _index(other), self)

    def __mod__(self, other: Operand) -> Index:
        return Arithmetic("%", self, _index(other))

    def __rmod__(self, other: int | float) -> Index:
        return Arithmetic("%", _index(other), self)

    def __truediv__(self, other: Operand) -> Index:
        return Arithmetic("/", self, _index(other))

    def __rtruediv__(self, other: int | float) -> Index:
        return Arithmetic("/", _index(other), self)

    def __pow__(self, other: Operand) -> Index:
        return Arithmetic("**", self, _index(other))

    def __rpow__(self, other: int | float) -> Index:
        return Arithmetic("**", _index(other), self)

    def __neg__(self) -> Index:
        return Negation(self)

    def __abs__(self) -> Index:
        return Function("abs", (self,))

    def __lt__(self, other: Operand) -> Mask:
        return Comparison(("<",), (self, _index(other)))

    def __le__(self, other: Operand) -> Mask:
        return Comparison(("<=",), (self, _index(other)))

    def __eq__(self, other: Operand) -> Mask:  # type: ignore[override]
        return Comparison(("==",), (self, _index(other)))

    def __ne__(self, other: Operand) -> Mask:  # type: ignore[override]
        return Comparison(("!=",), (self, _index(other)))

    def __ge__(self, other: Operand) -> Mask:
        return Comparison((">=",), (self, _index(other)))

    def __gt__(self, other: Operand) -> Mask:
        return Comparison((">",), (self, _index(other)))


@dataclass(frozen=True, eq=False)
class Number(Index):
    """A literal; its absolute value is at most 2**31, and a float is finite."""

    value: int | float

    def __post_init__(self) -> None:
        if isinstance(self.value, int) and abs(self.value) > LARGEST_LITERAL:
            raise MaskError(f"a whole number must be at most 2**31 = {LARGEST_LITERAL}, got {self.value}")
        if not isfinite(self.value):
            raise MaskError("a number must be finite, got one too large for float64")

    def __neg__(self) -> Index:
        return Number(-self.value)

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.number(self.value)


@dataclass(frozen=True, eq=False)
class Variable(Index):
    """One of the indices b, h, q, k or of the sizes N, H, L, S."""

    name: str

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.variable(self.name)


@dataclass(frozen=True, eq=False)
class Negation(Index):
    """Minus a number."""

    operand: Index

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.unary("-", self.operand.fold(reading))


@dataclass(frozen=True, eq=False)
class Arithmetic(Index):
    """Two numbers and one of `+ - * // % / **`; `//` and `%` round down, as in Python."""

    symbol: str
    left: Index
    right: Index

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.binary(self.symbol, self.left.fold(reading), self.right.fold(reading))


@dataclass(frozen=True, eq=False)
class Function(Index):
    """`abs` of one number, or `min` or `max` of two or more."""

    name: str
    operands: tuple[Index, ...]

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.call(self.name, [operand.fold(reading) for operand in self.operands])


@dataclass(frozen=True, eq=False)
class NamedIndex(Index):
    """A number written by name, such as `alibi(0.5)`, and what it stands for."""

    name: str
    arguments: tuple[int | float, ...]
    definition: Index = field(repr=False)

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.macro(self.name, self.arguments, self.definition)


def _index(value: Operand) -> Index:
    if isinstance(value, Index):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Number(value)
    raise TypeError(f"expected an index expression, an int or a float, got {type(value).__name__}")


b, h, q, k = (Variable(name) for name in "bhqk")
N, H, L, S = (Variable(name) for name in "NHLS")
