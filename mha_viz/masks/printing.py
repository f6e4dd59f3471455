"""Expressions as text: the language itself, and torch code.

The language takes its precedence from Python, so one table serves both.
"""

# ruff: noqa: D102  (what the methods mean is said once, in Interpretation)

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from mha_viz.masks.interpretation import Interpretation

if TYPE_CHECKING:
    from mha_viz.masks.base import Expression

COMPARED, UNARY, ATOM = 1, 7, 9
PRECEDENCE = {"|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6, "//": 6, "%": 6, "**": 8}


class Piece(NamedTuple):
    """A piece of text with what its surroundings must know of it."""

    text: str
    precedence: int = ATOM
    is_tensor: bool = False

    def within(self, precedence: int) -> str:
        """Return the text, in parentheses if it binds more loosely than `precedence`."""
        return self.text if self.precedence >= precedence else f"({self.text})"


class Printer(Interpretation[Piece]):
    """Writes an expression in its own language, with the fewest parentheses that read back the same."""

    def number(self, value: int | float) -> Piece:
        text = repr(value)
        return Piece(text, UNARY if text.startswith("-") else ATOM)

    def variable(self, name: str) -> Piece:
        return Piece(name)

    def unary(self, symbol: str, operand: Piece) -> Piece:
        return Piece(f"{symbol}{operand.within(UNARY)}", UNARY, operand.is_tensor)

    def binary(self, symbol: str, left: Piece, right: Piece) -> Piece:
        own = PRECEDENCE[symbol]
        # ** alone groups to the right, and takes a bare minus there: 2 ** -q.
        before, after = (ATOM, UNARY) if symbol == "**" else (own, own + 1)
        text = f"{left.within(before)} {symbol} {right.within(after)}"
        return Piece(text, own, left.is_tensor or right.is_tensor)

    def call(self, name: str, operands: Sequence[Piece]) -> Piece:
        inside = ", ".join(operand.text for operand in operands)
        return Piece(f"{name}({inside})", ATOM, any(operand.is_tensor for operand in operands))

    def comparison(self, symbols: Sequence[str], operands: Sequence[Piece]) -> Piece:
        rest = "".join(f" {symbol} {operand.text}" for symbol, operand in zip(symbols, operands[1:], strict=True))
        return Piece(operands[0].text + rest, COMPARED, any(operand.is_tensor for operand in operands))

    def combination(self, symbol: str, operands: Iterable[Piece]) -> Piece:
        own = PRECEDENCE[symbol]
        return Piece(f" {symbol} ".join(operand.within(own + 1) for operand in operands), own, is_tensor=True)

    def macro(self, name: str, arguments: tuple[int | float, ...], definition: Expression) -> Piece:
        return Piece(f"{name}({', '.join(map(repr, arguments))})" if arguments else name)


class TorchPrinter(Printer):
    """Writes a mask as torch code over int64 tensors b, h, q, k and ints N, H, L, S; named patterns are spelt out."""

    def variable(self, name: str) -> Piece:
        return Piece(name, is_tensor=name.islower())

    def call(self, name: str, operands: Sequence[Piece]) -> Piece:
        if name == "abs":
            return super().call(name, operands)
        return reduce(lambda left, right: self._nearer(name, left, right), operands)

    def _nearer(self, name: str, left: Piece, right: Piece) -> Piece:
        """Write `min` or `max` of two; torch has one function for a tensor with either a number or a tensor."""
        if not (left.is_tensor or right.is_tensor):
            return super().call(name, [left, right])
        tensor, limit = (left, right) if left.is_tensor else (right, left)
        other_end = {"min": "max", "max": "min"}[name]
        return Piece(f"{tensor.within(ATOM)}.clamp({other_end}={limit.text})", is_tensor=True)

    def comparison(self, symbols: Sequence[str], operands: Sequence[Piece]) -> Piece:
        links = [
            self._link(symbol, left, right)
            for symbol, left, right in zip(symbols, operands, operands[1:], strict=False)
        ]
        return links[0] if len(links) == 1 else self.combination("&", links)

    def _link(self, symbol: str, left: Piece, right: Piece) -> Piece:
        link = super().comparison([symbol], [left, right])
        return link if link.is_tensor else Piece(f"torch.tensor({link.text})", is_tensor=True)

    def macro(self, name: str, arguments: tuple[int | float, ...], definition: Expression) -> Piece:
        return definition.fold(self)


class FloatTorchPrinter(TorchPrinter):
    """Writes a score bias as torch code that computes in float64, where dividing by zero gives inf or NaN."""

    def number(self, value: int | float) -> Piece:
        return super().number(float(value))

    def variable(self, name: str) -> Piece:
        return Piece(f"{name}.double()", is_tensor=True) if name.islower() else Piece(name)

    def binary(self, symbol: str, left: Piece, right: Piece) -> Piece:
        # Two plain Python numbers would raise where torch gives inf or NaN.
        return super().binary(symbol, left if right.is_tensor else self.tensor(left), right)

    @staticmethod
    def tensor(piece: Piece) -> Piece:
        """Return the piece as one that yields a tensor."""
        wrapped = Piece(f"torch.tensor({piece.text}, dtype=torch.float64)", is_tensor=True)
        return piece if piece.is_tensor else wrapped
