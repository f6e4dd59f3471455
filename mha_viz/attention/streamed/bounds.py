"""What a mask says of whole blocks of positions, found from the ends of index ranges without looking at a cell."""

# ruff: noqa: D102  (what the methods mean is said once, in Interpretation)

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from mha_viz.masks.interpretation import Interpretation


@dataclass(frozen=True)
class Range:
    """The least and the largest value that a number takes in each block; of a mask, "surely True" and "ever True".

    They may be wider than the truth, where one index occurs twice as in `q - q`, and never narrower.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def exactly(cls, value: float | Tensor) -> Range:
        """Return the range of a number that is the same everywhere in a block."""
        tensor = torch.as_tensor(value)
        return cls(tensor, tensor)


class Bounds(Interpretation[Range]):
    """Computes with ranges of whole numbers; `values` says what each variable ranges over.

    Attributes:
        undefined: True for the blocks in which a divisor may be 0, which only a look at each cell can tell.
    """

    def __init__(self, values: Mapping[str, Range]) -> None:
        self.values = values
        self.undefined = torch.tensor(False)

    def number(self, value: int | float) -> Range:
        return Range.exactly(value)

    def variable(self, name: str) -> Range:
        return self.values[name]

    def unary(self, symbol: str, operand: Range) -> Range:
        turned = torch.logical_not if symbol == "~" else torch.neg
        return Range(turned(operand.high), turned(operand.low))

    def binary(self, symbol: str, left: Range, right: Range) -> Range:
        if symbol == "+":
            return Range(left.low + right.low, left.high + right.high)
        if symbol == "-":
            return Range(left.low - right.high, left.high - right.low)
        if symbol == "*":
            return _at_corners(torch.mul, left, right)
        zero = (right.low <= 0) & (right.high >= 0)
        self.undefined = self.undefined | zero
        safe = Range(right.low.where(~zero, 1), right.high.where(~zero, 1))
        found, widest = (_quotient(left, safe), left) if symbol == "//" else (_remainder(left, safe), right)
        most = torch.maximum(widest.low.abs(), widest.high.abs())
        return Range(found.low.where(~zero, -most), found.high.where(~zero, most))

    def call(self, name: str, operands: Sequence[Range]) -> Range:
        if name == "abs":
            (only,) = operands
            most = torch.maximum(only.low.abs(), only.high.abs())
            least = torch.minimum(only.low.abs(), only.high.abs())
            return Range(least.where((only.low > 0) | (only.high < 0), 0), most)
        chosen = torch.minimum if name == "min" else torch.maximum
        return reduce(lambda a, b: Range(chosen(a.low, b.low), chosen(a.high, b.high)), operands)

    def comparison(self, symbols: Sequence[str], operands: Sequence[Range]) -> Range:
        links = zip(symbols, operands, operands[1:], strict=False)
        return self.combination("&", (_compared(symbol, left, right) for symbol, left, right in links))

    def combination(self, symbol: str, operands: Iterable[Range]) -> Range:
        if symbol == "&":
            return reduce(lambda a, b: Range(a.low & b.low, a.high & b.high), operands)
        if symbol == "|":
            return reduce(lambda a, b: Range(a.low | b.low, a.high | b.high), operands)
        return reduce(_differs, operands)


def _compared(symbol: str, left: Range, right: Range) -> Range:
    if symbol in (">", ">="):
        return _compared("<" if symbol == ">" else "<=", right, left)
    if symbol == "<":
        return Range(left.high < right.low, left.low < right.high)
    if symbol == "<=":
        return Range(left.high <= right.low, left.low <= right.high)
    same = (left.low == left.high) & (right.low == right.high) & (left.low == right.low)
    meet = (left.low <= right.high) & (right.low <= left.high)
    return Range(same, meet) if symbol == "==" else Range(~meet, ~same)


def _differs(left: Range, right: Range) -> Range:
    sure = (left.low & ~right.high) | (right.low & ~left.high)
    ever = (left.high & ~right.low) | (right.high & ~left.low)
    return Range(sure, ever)


def _at_corners(operation: Callable[[Tensor, Tensor], Tensor], left: Range, right: Range) -> Range:
    corners = [operation(a, b) for a in (left.low, left.high) for b in (right.low, right.high)]
    return Range(reduce(torch.minimum, corners), reduce(torch.maximum, corners))


def _quotient(left: Range, right: Range) -> Range:
    """Return the range of `left // right`, which is monotonic in both as long as the divisor keeps its sign."""
    return _at_corners(lambda a, b: a.div(b, rounding_mode="floor"), left, right)


def _remainder(left: Range, right: Range) -> Range:
    """Return the range of `left % right`: exact where the divisor is one number and the quotient does not change."""
    low, high = left.low.remainder(right.low), left.high.remainder(right.low)
    quotient = _quotient(left, right)
    exact = (right.low == right.high) & (quotient.low == quotient.high)
    return Range(low.where(exact, (right.low + 1).clamp(max=0)), high.where(exact, (right.high - 1).clamp(min=0)))
