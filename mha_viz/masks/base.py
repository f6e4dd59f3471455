"""Masks: what they can do, and the nodes they are made of.

A mask is a function of (b, h, q, k) and of the sizes N, H, L, S, kept as an expression: it can be computed for any
block of positions, printed, and written as code. It is built by comparing numbers (`index.Index`) and by combining
other masks with `& | ^ ~`. Nodes are immutable and hold no tensors.
"""

# ruff: noqa: D102  (what fold does is said once, in Expression)

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from mha_viz.masks.evaluation import Evaluator, Grid, Magnitude
from mha_viz.masks.interpretation import Interpretation, Names
from mha_viz.masks.printing import Printer, TorchPrinter

if TYPE_CHECKING:
    from mha_viz.masks.index import Index

T = TypeVar("T")


class Expression(ABC):
    """Anything that can be written in the language; equal to another when both are written the same."""

    @abstractmethod
    def fold(self, reading: Interpretation[T]) -> T:
        """Return what `reading` makes of this node, having read its parts first."""

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names out of b, h, q, k, N, H, L, S that occur once named patterns are spelt out."""
        return self.fold(Names())

    @cached_property
    def _text(self) -> str:
        return self.fold(Printer()).text

    def __str__(self) -> str:
        return self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        raise TypeError(
            f"'{self}' has no single truth value: combine masks with & | ^ ~, and write a chain as two comparisons"
        )


class Mask(Expression):
    """A function of (b, h, q, k) that is True where query q may attend to key k."""

    __hash__ = Expression.__hash__

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Mask) else NotImplemented

    def __and__(self, other: Mask) -> Mask:
        return combine("&", (self, other))

    def __or__(self, other: Mask) -> Mask:
        return combine("|", (self, other))

    def __xor__(self, other: Mask) -> Mask:
        return combine("^", (self, other))

    def __invert__(self) -> Mask:
        return Inversion(self)

    def allowed(
        self,
        query_len: int,
        key_len: int | None = None,
        *,
        batch_size: int = 1,
        num_heads: int = 1,
        rows: slice | None = None,
        cols: slice | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Compute the mask: True where a query may attend to a key.

        Args:
            query_len: L, from 1 to 2**24.
            key_len: S, the same as L if None.
            batch_size: N.
            num_heads: H.
            rows: The queries wanted, all if None; the sizes N, H, L, S keep their full values.
            cols: The keys wanted, all if None.
            device: Where to compute.

        Returns:
            A contiguous bool tensor, [L, S] if the mask mentions neither b nor h, else [H, L, S] (h only),
            [N, 1, L, S] (b only) or [N, H, L, S]; all broadcast to [N, H, L, S].

        Raises:
            MaskError: A size is out of bounds, or the mask divides by zero somewhere.
        """
        grid = Grid(
            query_len=query_len,
            key_len=key_len,
            batch_size=batch_size,
            num_heads=num_heads,
            rows=rows,
            cols=cols,
            device=device,
        )
        result = self.fold(Evaluator(grid.values()))
        return grid.materialise(torch.as_tensor(result), self.variables)

    def code(self) -> str:
        """Return torch code for this mask as one Python expression that needs only `torch`.

        It reads int64 tensors b, h, q, k that broadcast together and ints N, H, L, S, and gives a bool tensor that
        broadcasts to the shape of `allowed`: `k < 3` alone gives [S] from a k of [S].
        """
        return self.fold(TorchPrinter()).text


@dataclass(frozen=True, eq=False)
class Comparison(Mask):
    """Numbers compared in a chain: `0 <= q - k < 3` has two symbols and three operands."""

    symbols: tuple[str, ...]
    operands: tuple[Index, ...]

    def __post_init__(self) -> None:
        self.fold(Magnitude())

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.comparison(self.symbols, [operand.fold(reading) for operand in self.operands])


@dataclass(frozen=True, eq=False)
class Combination(Mask):
    """Two or more masks joined by one of `& | ^`; a chain of the same symbol is one node, however it was grouped."""

    symbol: str
    operands: tuple[Mask, ...]

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.combination(self.symbol, (operand.fold(reading) for operand in self.operands))


@dataclass(frozen=True, eq=False)
class Inversion(Mask):
    """True where the operand is False."""

    operand: Mask

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.unary("~", self.operand.fold(reading))


@dataclass(frozen=True, eq=False)
class NamedMask(Mask):
    """A pattern written by name, such as `window(4)`, and what it stands for."""

    name: str
    arguments: tuple[int | float, ...]
    definition: Mask = field(repr=False)

    def fold(self, reading: Interpretation[T]) -> T:
        return reading.macro(self.name, self.arguments, self.definition)


def combine(symbol: str, masks: Iterable[Mask]) -> Mask:
    """Join masks by one of `& | ^`, which are associative, so that a chain stays flat; a single mask stays as it is."""
    operands: list[Mask] = []
    for mask in masks:
        if isinstance(mask, Combination) and mask.symbol == symbol:
            operands.extend(mask.operands)
        elif isinstance(mask, Mask):
            operands.append(mask)
        else:
            raise TypeError(f"expected a mask, got {type(mask).__name__}")
    return operands[0] if len(operands) == 1 else Combination(symbol, tuple(operands))
