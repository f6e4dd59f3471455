"""How far two tensors lie apart, number by number; a NaN in both is no difference, in one of them an infinite one."""

from __future__ import annotations

import torch
from torch import Tensor


def difference(before: Tensor, after: Tensor) -> Tensor:
    """Return |after - before| of two tensors of one shape, in float64 if both have it, else float32."""
    exact = torch.float64 if before.dtype == torch.float64 else torch.float32
    after = after.to(before.device)
    same = (before == after) | (before.isnan() & after.isnan())
    apart = (after.to(exact) - before.to(exact)).abs_().nan_to_num_(nan=torch.inf, posinf=torch.inf)
    return apart.masked_fill_(same, 0.0)


def largest_difference(before: Tensor, after: Tensor) -> float:
    """Return the largest of their differences."""
    return float(difference(before, after).max())
