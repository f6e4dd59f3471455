"""`F.scaled_dot_product_attention` in the place where `nn.MultiheadAttention` would compute its weights.

The function returns no weights, but its output for the value vectors (1, 0, 0 ...), (0, 1, 0 ...) ... is exactly the
weights that it used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.direct import joined, projected
from mha_viz.masks.encode import allowed_as_given, as_given


def forward(
    layer: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None,
    *,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return output [N, L, E] and weights [N, H, L, S] of a layer whose attention is the function's.

    Args:
        layer: Its projections are used; not its dropout and not its extra keys.
        query: [N, L, E].
        key: [N, S, kdim].
        value: [N, S, vdim].
        attn_mask: Handed to the function unchanged: True means *attend*, a float is added.
        is_causal: The function's argument.
    """
    with torch.no_grad():
        q, k, v = projected(layer, query, key, value, extra_keys=False)
        found = weights(q, k, columns=layer.head_dim, attn_mask=attn_mask, is_causal=is_causal)  # [N, H, L, S]
        return joined(layer, found @ v), found


def weights(
    query: Tensor,
    key: Tensor,
    *,
    columns: int,
    random: Callable[[], AbstractContextManager[None]] = nullcontext,
    **options: Any,
) -> Tensor:
    """Return the weights [..., H, L, S] that the function uses, after dropout.

    Args:
        query: [..., H, L, D].
        key: [..., H, S, D], with fewer heads where the options say `enable_gqa`.
        columns: Size of the real value vectors: torch chooses the kernel by it.
        random: Makes the context in which each call draws its dropout.
        options: The function's other arguments.
    """
    keys = key.shape[-2]
    units = F.pad(torch.eye(keys, dtype=key.dtype, device=key.device), (0, -keys % columns))
    parts = []
    for unit in units.split(columns, dim=1):
        with random():
            value = unit.expand(*key.shape[:-2], *unit.shape)
            parts.append(F.scaled_dot_product_attention(query, key, value, **options))
    return torch.cat(parts, dim=-1)[..., :keys]


def as_passed_to_module(attn_mask: Tensor | None, weights: Tensor, *, is_causal: bool) -> Tensor | None:
    """Return what the function was told to hide, as `nn.MultiheadAttention` would be told: [L, S] or [N * H, L, S].

    Args:
        attn_mask: As the function was given it, broadcastable to [N, H, L, S].
        weights: [N, H, L, S].
        is_causal: Hides the future too, counted from the top left.
    """
    if attn_mask is None and not is_causal:
        return None
    length, keys = weights.shape[2:]
    allowed = torch.ones(length, keys, dtype=torch.bool, device=weights.device)
    if is_causal:
        allowed = allowed.tril()
    if attn_mask is not None:
        allowed = allowed & allowed_as_given(attn_mask, "sdpa")
    hidden = as_given(allowed)
    return hidden if hidden.dim() == 2 else hidden.expand(weights.shape).flatten(0, 1)
