"""Expressions as numbers: the grid of positions that is asked for, and the tensors computed over it."""

# ruff: noqa: D102  (what the methods mean is said once, in Interpretation)

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from mha_viz.errors import MaskError
from mha_viz.masks.interpretation import Interpretation

LARGEST_SIZE = 2**24
LARGEST_INTEGER = 2**63 - 1

# An int (a size, a literal, or arithmetic of those) stays an int until it meets an index.
Value = int | float | Tensor

UNARY_OPERATORS: dict[str, Callable[[Any], Value]] = {"-": operator.neg, "~": operator.invert, "abs": operator.abs}
OPERATORS: dict[str, Callable[[Any, Any], Value]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    ">": operator.gt,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


def _least(left: Value, right: Value) -> Value:
    if isinstance(left, Tensor):
        return left.clamp(max=right)
    return right.clamp(max=left) if isinstance(right, Tensor) else min(left, right)


def _greatest(left: Value, right: Value) -> Value:
    if isinstance(left, Tensor):
        return left.clamp(min=right)
    return right.clamp(min=left) if isinstance(right, Tensor) else max(left, right)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The positions (b, h, q, k) at which an expression is wanted, and the full sizes N, H, L, S.

    `rows` and `cols` choose a block of queries and keys; the sizes stay those of the whole.

    Raises:
        MaskError: A size is not between 1 and 2**24.
    """

    query_len: int
    key_len: int | None = None
    batch_size: int = 1
    num_heads: int = 1
    rows: slice | None = None
    cols: slice | None = None
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        for name, size in self._sizes().items():
            if not 1 <= size <= LARGEST_SIZE:
                raise MaskError(f"{name} of a mask must be from 1 to {LARGEST_SIZE}, got {size}")

    def _sizes(self) -> dict[str, int]:
        key_len = self.query_len if self.key_len is None else self.key_len
        return {
            "batch_size": self.batch_size,
            "num_heads": self.num_heads,
            "query_len": self.query_len,
            "key_len": key_len,
        }

    def values(self) -> dict[str, Value]:
        """Return what each variable stands for; the index tensors broadcast to [N, H, rows, cols]."""
        sizes = self._sizes().values()
        b, h, q, k = (torch.arange(size, device=self.device) for size in sizes)
        return {
            "b": b[:, None, None, None],
            "h": h[:, None, None],
            "q": q[self.rows or slice(None)][:, None],
            "k": k[self.cols or slice(None)],
            **dict(zip("NHLS", sizes, strict=True)),
        }

    def materialise(self, result: Tensor, variables: frozenset[str]) -> Tensor:
        """Return `result` as a tensor of its own: [l, s], [H, l, s], [N, 1, l, s] or [N, H, l, s] by its variables."""
        batch, heads, queries, keys = (range(size) for size in self._sizes().values())
        shape = [len(queries[self.rows or slice(None)]), len(keys[self.cols or slice(None)])]
        if "h" in variables:
            shape = [len(heads), *shape]
        if "b" in variables:
            shape = [len(batch), *([] if "h" in variables else [1]), *shape]
        return result.to(self.device).expand(shape).contiguous()


class Evaluator(Interpretation[Value]):
    """Computes whole numbers in int64 and masks in bool; `values` says what each variable stands for."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self.values = values

    def number(self, value: int | float) -> Value:
        return value

    def variable(self, name: str) -> Value:
        return self.values[name]

    def unary(self, symbol: str, operand: Value) -> Value:
        return UNARY_OPERATORS[symbol](operand)

    def binary(self, symbol: str, left: Value, right: Value) -> Value:
        # Checked here because torch raises on the CPU only, and returns anything at all on a GPU.
        if symbol in ("//", "%") and not torch.as_tensor(right != 0).all():
            raise MaskError(f"the right side of '{symbol}' must not be 0 anywhere, and is 0 somewhere for these sizes")
        return OPERATORS[symbol](left, right)

    def call(self, name: str, operands: Sequence[Value]) -> Value:
        if name == "abs":
            return UNARY_OPERATORS[name](operands[0])
        return reduce(_least if name == "min" else _greatest, operands)

    def comparison(self, symbols: Sequence[str], operands: Sequence[Value]) -> Value:
        links = zip(symbols, operands, operands[1:], strict=False)
        return self.combination("&", (OPERATORS[symbol](left, right) for symbol, left, right in links))

    def combination(self, symbol: str, operands: Iterable[Value]) -> Value:
        return torch.as_tensor(reduce(OPERATORS[symbol], operands))


class FloatEvaluator(Evaluator):
    """Computes score biases in float64 throughout, so that nothing overflows into an error: it gives inf or NaN."""

    def __init__(self, values: Mapping[str, Value], device: torch.device | str) -> None:
        self.device = device
        super().__init__({name: self.number(value) for name, value in values.items()})

    def number(self, value: Value) -> Value:
        return torch.as_tensor(value, dtype=torch.float64, device=self.device)

    def binary(self, symbol: str, left: Value, right: Value) -> Value:
        return OPERATORS[symbol](left, right)


class Magnitude(Interpretation[int]):
    """The largest absolute value that a whole number can reach, which must fit in 64 bits.

    Proving this when a mask is made is what lets the evaluator use plain int64 and never overflow.

    Raises:
        MaskError: The number can be too large, is a fraction, or divides by a literal zero.
    """

    def number(self, value: int | float) -> int:
        if isinstance(value, float):
            raise MaskError(f"a mask compares whole numbers only, got {value}")
        return abs(value)

    def variable(self, name: str) -> int:
        return LARGEST_SIZE

    def unary(self, symbol: str, operand: int) -> int:
        return operand

    def binary(self, symbol: str, left: int, right: int) -> int:
        if symbol in ("/", "**"):
            raise MaskError(f"a mask compares whole numbers only, and '{symbol}' can leave them: use + - * // %")
        if symbol in ("//", "%") and right == 0:
            raise MaskError(f"a mask cannot divide by zero, as '{symbol} 0' does")
        bounds = {"+": left + right, "-": left + right, "*": left * right, "//": left, "%": right}
        if bounds[symbol] > LARGEST_INTEGER:
            raise MaskError(f"the result of '{symbol}' could be larger than 2**63 - 1: use '%' to keep it smaller")
        return bounds[symbol]

    def call(self, name: str, operands: Sequence[int]) -> int:
        return max(operands)

    def comparison(self, symbols: Sequence[str], operands: Sequence[int]) -> int:
        return max(operands)

    def combination(self, symbol: str, operands: Iterable[int]) -> int:
        return max(operands)
