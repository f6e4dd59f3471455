"""The one way to read an expression: a class with one method for each kind of node.

Everything that can be done with a mask is an `Interpretation`: computing it (`evaluation.Evaluator`), printing it
(`printing.Printer`), writing it as torch code (`printing.TorchPrinter`), bounding its integers. A new target, such as
FlexAttention, is a new subclass and touches no node.
"""

# ruff: noqa: D102  (what the methods mean is said once, in Interpretation)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from mha_viz.masks.base import Expression

T = TypeVar("T")


class Interpretation(ABC, Generic[T]):
    """What each node of the language means; `expression.fold(interpretation)` applies it from the leaves up.

    Only primitive nodes have to be given a meaning: a named pattern means its definition unless `macro` says otherwise.
    """

    @abstractmethod
    def number(self, value: int | float) -> T:
        """Read a literal."""

    @abstractmethod
    def variable(self, name: str) -> T:
        """Read an index (b, h, q, k) or a size (N, H, L, S)."""

    @abstractmethod
    def unary(self, symbol: str, operand: T) -> T:
        """Read `-number` or `~mask`."""

    @abstractmethod
    def binary(self, symbol: str, left: T, right: T) -> T:
        """Read arithmetic: `+ - * // %`, and in score biases `/ **`."""

    @abstractmethod
    def call(self, name: str, operands: Sequence[T]) -> T:
        """Read `abs(x)`, `min(x, y, ...)` or `max(x, y, ...)`."""

    @abstractmethod
    def comparison(self, symbols: Sequence[str], operands: Sequence[T]) -> T:
        """Read a chain such as `0 <= q - k < 3`, which has one operand more than symbols."""

    @abstractmethod
    def combination(self, symbol: str, operands: Iterable[T]) -> T:
        """Read two or more masks joined by one of `& | ^`; the operands come one at a time, to be used at once."""

    def macro(self, name: str, arguments: tuple[int | float, ...], definition: Expression) -> T:
        """Read a named pattern, by default as what it stands for."""
        return definition.fold(self)


class Names(Interpretation[frozenset[str]]):
    """The variables that an expression mentions."""

    def number(self, value: int | float) -> frozenset[str]:
        return frozenset()

    def variable(self, name: str) -> frozenset[str]:
        return frozenset({name})

    def unary(self, symbol: str, operand: frozenset[str]) -> frozenset[str]:
        return operand

    def binary(self, symbol: str, left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
        return left | right

    def call(self, name: str, operands: Sequence[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*operands)

    def comparison(self, symbols: Sequence[str], operands: Sequence[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*operands)

    def combination(self, symbol: str, operands: Iterable[frozenset[str]]) -> frozenset[str]:
        return frozenset().union(*operands)
