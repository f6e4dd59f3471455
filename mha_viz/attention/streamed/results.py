"""What a pass over a head leaves behind: its overviews, its normalisers, and the statistics of its rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

TOP_KEYS = 4


@dataclass(frozen=True, eq=False)
class RowStatistics:
    """One head of one item, row by row; rows with a NaN hold NaN.

    Attributes:
        entropy: [L], -sum(w · log2 w) in bits.
        distance: [L], sum(w · |q - k|) in tokens; extra columns count nothing.
        row_sum: [L], the weights added up once more.
        allowed: [L] int32, keys that the mask allows, extra columns included.
        column_mass: [S], the weights of each key added up over the rows without NaN.
        top_keys: [L, up to 4] int32, the keys with the largest weights, largest first; -1 where there is none above 0.
        top_weights: [L, up to 4], their weights.
        output: [L, D], weights · V before the heads are joined; None where it was not asked for.
    """

    entropy: Tensor
    distance: Tensor
    row_sum: Tensor
    allowed: Tensor
    column_mass: Tensor
    top_keys: Tensor
    top_weights: Tensor
    output: Tensor | None

    @classmethod
    def blank(cls, key: Tensor, length: int, *, output: bool) -> RowStatistics:
        """Return room for a head with L queries and the keys [S, D]."""
        keys, dim = key.shape
        top = min(TOP_KEYS, keys)
        return cls(
            entropy=key.new_empty(length),
            distance=key.new_empty(length),
            row_sum=key.new_empty(length),
            allowed=torch.empty(length, dtype=torch.int32, device=key.device),
            column_mass=key.new_zeros(keys),
            top_keys=torch.empty(length, top, dtype=torch.int32, device=key.device),
            top_weights=key.new_empty(length, top),
            output=key.new_empty(length, dim) if output else None,
        )

    @property
    def tensors(self) -> list[Tensor]:
        """All of them that are there."""
        return [tensor for tensor in vars(self).values() if tensor is not None]


@dataclass(frozen=True, eq=False)
class HeadPass:
    """One head of one item.

    Attributes:
        largest: [rows, columns], the largest weight of each block, NaN where all its rows are.
        mean: Likewise the mean, over its rows without NaN.
        reference: [L], and
        inverse: [L]: a weight is exp(score - reference) * inverse.
        filled: [rows], how many rows without NaN each row of the overview stands for.
        rows: The statistics, or None where they were not asked for.
    """

    largest: Tensor
    mean: Tensor
    reference: Tensor
    inverse: Tensor
    filled: Tensor
    rows: RowStatistics | None

    @property
    def nbytes(self) -> int:
        """Return how many bytes it holds."""
        own = [self.largest, self.mean, self.reference, self.inverse, self.filled]
        return sum(tensor.nbytes for tensor in [*own, *(self.rows.tensors if self.rows else [])])

    def holds(self, rows: bool, output: bool) -> bool:
        """Return whether it has what is asked for."""
        return (self.rows is not None or not rows) and (
            not output or (self.rows is not None and self.rows.output is not None)
        )

    @property
    def log_sum_exp(self) -> Tensor:
        """[L] natural logarithms; -inf for a row that sees no key."""
        return self.reference - self.inverse.log()
