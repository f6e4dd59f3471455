"""What is hidden from whom, in the form that `nn.MultiheadAttention` takes: True hides."""

from __future__ import annotations

import torch
from torch import Tensor

from mha_viz.attention.capture.store import copy_of

# A score this low is meant to hide a key (-1e4, -1e9, finfo.min ...): its exponential is zero.
HIDES = -9000.0


def by_number(scores: Tensor) -> Tensor:
    """Return which scores, or numbers added to scores, are meant to hide a key."""
    return scores <= HIDES


def by_function(attn_mask: Tensor | None, *, is_causal: bool, shape: tuple[int, int, int, int]) -> Tensor | None:
    """Return what `F.scaled_dot_product_attention` was told to hide, bool broadcastable to [N, H, L, S].

    Args:
        attn_mask: Broadcastable likewise; a bool True shows, a float is added.
        is_causal: Hides the future too, counted from the top left.
        shape: N, H, L and S.
    """
    hidden = None
    if attn_mask is not None:
        hidden = ~attn_mask if attn_mask.dtype == torch.bool else by_number(attn_mask)
    if is_causal:
        device = None if attn_mask is None else attn_mask.device
        future = torch.ones(shape[2:], dtype=torch.bool, device=device).triu(1)
        hidden = future if hidden is None else hidden | future
    return hidden


def as_masks(hidden: Tensor | None, shape: tuple[int, int, int, int]) -> tuple[Tensor | None, Tensor | None]:
    """Return `attn_mask` [L, S] or [N * H, L, S] and `key_padding_mask` [N, S], of which one is None; on the CPU.

    Args:
        hidden: Bool, broadcastable to [N, H, L, S].
        shape: N, H, L and S.
    """
    if hidden is None or not bool(hidden.any()):
        return None, None
    n, _, length, keys = shape
    hidden = hidden.reshape((1,) * (4 - hidden.dim()) + hidden.shape)
    for dim in range(3):
        if hidden.shape[dim] > 1 and bool((hidden == hidden.narrow(dim, 0, 1)).all()):
            hidden = hidden.narrow(dim, 0, 1)
    if hidden.shape[0] == hidden.shape[1] == 1:
        return copy_of(hidden[0, 0].expand(length, keys)), None
    if hidden.shape[1] == hidden.shape[2] == 1:
        return None, copy_of(hidden[:, 0, 0].expand(n, keys))
    return copy_of(hidden.expand(shape).flatten(0, 1)), None
