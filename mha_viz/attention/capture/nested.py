"""Nested tensors, in which an encoder drops the padding, as the padded ones that they stand for."""

from __future__ import annotations

import torch
from torch import Tensor


def padded(tensor: Tensor, length: int | None = None) -> Tensor:
    """Return a nested tensor [N, (lengths), E] as [N, L, E] with zeros behind; another as it is.

    Args:
        tensor: Nested or not.
        length: L; the longest item's if None.
    """
    if not tensor.is_nested:
        return tensor
    items = list(tensor.detach().unbind())
    longest = max(len(item) for item in items) if length is None else length
    made = torch.zeros(len(items), longest, items[0].shape[-1], dtype=tensor.dtype, device=tensor.device)
    for row, item in zip(made, items, strict=True):
        row[: len(item)] = item
    return made


def padding(tensor: Tensor, length: int) -> Tensor:
    """Return which places of a nested tensor's items are padding, bool [N, L]."""
    lengths = torch.tensor([len(item) for item in tensor.unbind()], device=tensor.device)
    return torch.arange(length, device=tensor.device) >= lengths[:, None]
