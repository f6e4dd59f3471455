"""Rows of a pooled picture, made of a block of rows of the weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d


class Lines:
    """The rows of a picture that a block of rows holds whole, or the one that it holds a part of.

    Attributes:
        place: Which rows of the picture.
    """

    def __init__(self, rows: tuple[int, int], side: int, good: Tensor) -> None:
        """Take the rows' ends, how many rows make one of the picture, and which rows are not left out, [rows]."""
        start, stop = rows
        self.place = slice(start // side, -(-stop // side))
        self._count, self._side = stop - start, side
        self._good = good
        self._all_good = bool(good.all())
        self._line = torch.arange(start, stop, device=good.device) // side - self.place.start

    def filled(self, dtype: torch.dtype) -> Tensor:
        """Return how many rows each of the picture's stands for, [lines]."""
        found = torch.zeros(self.place.stop - self.place.start, dtype=dtype, device=self._good.device)
        return found.index_add_(0, self._line, self._good.to(dtype))

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest of [columns, rows] in each row of the picture, [lines, columns]; -1 without any."""
        values = values if self._all_good else values.masked_fill(~self._good, -1.0)
        return max_pool1d(values[None], min(self._side, self._count), ceil_mode=True)[0].T

    def sums(self, values: Tensor, factor: Tensor) -> Tensor:
        """Return the sums of [columns, rows] times a factor for each row, [lines, columns]; `values` is overwritten."""
        if not self._all_good:
            values, factor = values.masked_fill_(~self._good, 0.0), factor.where(self._good, 0.0)
        weighted = values.mul_(factor)
        found = values.new_empty(len(values), -(-self._count // self._side))
        whole = self._count // self._side
        if whole:
            torch.sum(weighted[:, : whole * self._side].unflatten(1, (whole, self._side)), dim=2, out=found[:, :whole])
        if whole < found.shape[1]:
            torch.sum(weighted[:, whole * self._side :], dim=1, out=found[:, whole])
        return found.T
