"""The attention functions under `nn.MultiheadAttention`, called directly with the layer's own projections.

Masks stand here as one tensor that both functions take: bool, True = may attend, or float, added to the scores.
"""

from __future__ import annotations

import threading
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from mha_viz.attention.projections import projections
from mha_viz.masks.encode import allowed_from, allowed_from_padding

_warnings = threading.Lock()  # the filters of `warnings` belong to the whole process


def scaled_dot_product(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, merged: Tensor | None
) -> Tensor:
    """Return [N, L, E] by `F.scaled_dot_product_attention`; query, key and value are [N, L or S, ...]."""
    q, k, v = projected(layer, query, key, value)
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=merged, dropout_p=layer.training * layer.dropout)
    return joined(layer, attended)


def flex(layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, merged: Tensor | None) -> Tensor:
    """Return [N, L, E] by FlexAttention without compilation: a block mask from bools, a score_mod from floats."""
    q, k, v = projected(layer, query, key, value)
    n, heads, length, keys = *q.shape[:3], k.shape[2]
    with _warnings, warnings.catch_warnings():
        # Once a process it says that it is not compiled, which is meant here.
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        if merged is None:
            return joined(layer, flex_attention(q, k, v))
        full = merged.expand(n, heads, length, keys)
        if merged.dtype == torch.bool:
            block = create_block_mask(lambda b, h, i, j: full[b, h, i, j], n, heads, length, keys, device=q.device)
            return joined(layer, flex_attention(q, k, v, block_mask=block))
        return joined(layer, flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score + full[b, h, i, j]))


def merged_mask(
    layer: nn.MultiheadAttention,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    is_causal: bool,
    sizes: tuple[int, int, int],
) -> Tensor | None:
    """Return what masks of the module and its causal hint say together, turned round for the functions.

    Args:
        layer: Its extra keys (`add_bias_kv`, `add_zero_attn`) are never hidden.
        attn_mask: (L, S) or (N * H, L, S), True hides, a float is added.
        key_padding_mask: (N, S) or (S), likewise.
        is_causal: Hide the future too.
        sizes: N, L and S.

    Returns:
        Broadcastable to [N, H, L, S + extra keys], bool unless a mask is float; None where nothing is hidden.
    """
    n, length, keys = sizes
    allowed: Tensor | None = None
    added: Tensor | None = None
    for mask, padding in ((attn_mask, False), (key_padding_mask, True)):
        if mask is None:
            continue
        if mask.is_floating_point():
            values = _as_heads(mask, n, layer.num_heads, padding=padding)
            added = values if added is None else added + values
        else:
            heads = layer.num_heads
            own = allowed_from_padding(mask) if padding else allowed_from(mask, batch_size=n, num_heads=heads)
            allowed = own if allowed is None else allowed & own
    if is_causal:
        device = next(layer.parameters()).device
        past = torch.ones(length, keys, dtype=torch.bool, device=device).tril()[None, None]
        allowed = past if allowed is None else allowed & past
    return _with_extra_keys(layer, allowed, added)


def _as_heads(mask: Tensor, n: int, heads: int, *, padding: bool) -> Tensor:
    if padding:
        return mask.reshape(-1, 1, 1, mask.shape[-1])
    return mask[None, None] if mask.dim() == 2 else mask.reshape(n, heads, *mask.shape[1:])


def _with_extra_keys(layer: nn.MultiheadAttention, allowed: Tensor | None, added: Tensor | None) -> Tensor | None:
    extra = (layer.bias_k is not None) + layer.add_zero_attn
    if added is None:
        return None if allowed is None else F.pad(allowed, (0, extra), value=True)
    together = added if allowed is None else added.masked_fill(~allowed, -torch.inf)
    return F.pad(together, (0, extra), value=0.0)


def projected(
    layer: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, *, extra_keys: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q [N, H, L, D], and k and v [N, H, S, D], with or without the extra keys, of tensors [N, L or S, ...]."""
    own = projections(layer)
    q, k, v = (F.linear(x, *own[name]) for name, x in zip("qkv", (query, key, value), strict=True))
    if extra_keys and layer.bias_k is not None and layer.bias_v is not None:
        k = torch.cat([k, layer.bias_k.expand(len(k), -1, -1)], 1)
        v = torch.cat([v, layer.bias_v.expand(len(v), -1, -1)], 1)
    if extra_keys and layer.add_zero_attn:
        k, v = (F.pad(x, (0, 0, 0, 1)) for x in (k, v))
    q, k, v = (x.unflatten(-1, (layer.num_heads, layer.head_dim)).transpose(1, 2) for x in (q, k, v))
    return q, k, v


def joined(layer: nn.MultiheadAttention, attended: Tensor) -> Tensor:
    """Return a layer's output [N, L, E] for what its heads have gathered, [N, H, L, D]."""
    output: Tensor = layer.out_proj(attended.transpose(1, 2).flatten(2))
    return output
