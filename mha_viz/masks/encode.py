"""Masks in the form that `nn.MultiheadAttention` takes, and back: the one file where True means *ignore*.

`nn.MultiheadAttention` takes `attn_mask` as (L, S) or (N * H, L, S) with index n * H + h, and `key_padding_mask` as
(N, S), whatever `batch_first` says. In both a bool True means "do not look", and a float is added to the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mha_viz.errors import MaskError
from mha_viz.masks.base import Mask, NamedMask
from mha_viz.masks.bias import ScoreBias

Encoding = Literal["bool", "float"]
# nn.MultiheadAttention, or F.scaled_dot_product_attention, whose bool masks mean the opposite.
Api = Literal["mha", "sdpa"]


def attn_mask(
    mask: Mask,
    bias: ScoreBias | None = None,
    *,
    query_len: int,
    key_len: int | None = None,
    batch_size: int = 1,
    num_heads: int = 1,
    encoding: Encoding = "bool",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor | None:
    """Return the `attn_mask` argument for a mask and a score bias.

    Args:
        mask: What each query may attend to.
        bias: Added to the scores of allowed pairs; makes the result float whatever `encoding` says.
        query_len: L.
        key_len: S, the same as L if None.
        batch_size: N.
        num_heads: H.
        encoding: "bool", True where masked, or "float", 0 where allowed and -inf where masked.
        dtype: Of a float result; it must be that of the query.
        device: Where the result lies.

    Returns:
        None for the mask `full` without a bias; else (L, S) where neither mentions b or h, and (N * H, L, S)
        with index n * H + h where one does.

    Raises:
        MaskError: A size is out of bounds, or the mask divides by zero somewhere.
    """
    if bias is None and isinstance(mask, NamedMask) and mask.name == "full":
        return None
    block = (query_len, key_len)
    allowed = mask.allowed(*block, batch_size=batch_size, num_heads=num_heads, device=device)
    if bias is None:
        encoded = _encoded(allowed, encoding, dtype)
    else:
        added = bias.values(*block, batch_size=batch_size, num_heads=num_heads, device=device, dtype=dtype)
        encoded = torch.where(allowed, added, -torch.inf)
    if encoded.dim() == 2:
        return encoded
    return encoded.expand(batch_size, num_heads, *encoded.shape[-2:]).flatten(0, 1)  # [N * H, L, S]


def key_padding_mask(
    lengths: Sequence[int],
    key_len: int,
    *,
    encoding: Encoding = "bool",
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the `key_padding_mask` argument for batch items whose first `lengths[n]` keys are real.

    Args:
        lengths: The real length of each of the N items, from 0 to S.
        key_len: S.
        encoding: "bool", True where padding, or "float", 0 where real and -inf where padding.
        dtype: Of a float result; it must be that of the query.
        device: Where the result lies.

    Returns:
        (N, S), bool or float.

    Raises:
        MaskError: A length is not from 0 to S.
    """
    for item, length in enumerate(lengths):
        if not 0 <= length <= key_len:
            raise MaskError(f"the length of batch item {item} must be from 0 to key_len {key_len}, got {length}")
    ends = torch.tensor(list(lengths), dtype=torch.int64, device=device)[:, None]
    real = torch.arange(key_len, device=device) < ends
    return _encoded(real, encoding, dtype)


def allowed_from(attn_mask: Tensor, *, batch_size: int, num_heads: int) -> Tensor:
    """Return what an `attn_mask` of `nn.MultiheadAttention` allows: the inverse of `attn_mask`.

    Args:
        attn_mask: (L, S) or (N * H, L, S), bool (True masks) or float (-inf masks, any other value does not).
        batch_size: N.
        num_heads: H.

    Returns:
        Bool, True where a query may attend, [1, 1, L, S] or [N, H, L, S].

    Raises:
        MaskError: The shape or the dtype is not one that `nn.MultiheadAttention` takes.
    """
    allowed = _decoded("attn_mask", attn_mask)
    if allowed.dim() == 2:
        return allowed[None, None]
    if allowed.dim() == 3 and len(allowed) == batch_size * num_heads:
        return allowed.reshape(batch_size, num_heads, *allowed.shape[1:])
    expected = f"(L, S) or ({batch_size * num_heads}, L, S) for N = {batch_size} and H = {num_heads}"
    raise MaskError(f"attn_mask must have the shape {expected}, got {tuple(attn_mask.shape)}")


def allowed_from_padding(key_padding_mask: Tensor) -> Tensor:
    """Return what a `key_padding_mask` of `nn.MultiheadAttention` allows.

    Args:
        key_padding_mask: (N, S), or (S) for unbatched input; bool (True masks) or float (-inf masks).

    Returns:
        Bool, True where a key may be attended to, [N, 1, 1, S] with N = 1 for unbatched input.

    Raises:
        MaskError: The shape or the dtype is not one that `nn.MultiheadAttention` takes.
    """
    allowed = _decoded("key_padding_mask", key_padding_mask)
    if allowed.dim() not in (1, 2):
        raise MaskError(f"key_padding_mask must have the shape (N, S) or (S), got {tuple(key_padding_mask.shape)}")
    return allowed.reshape(-1, 1, 1, allowed.shape[-1])


def _encoded(allowed: Tensor, encoding: Encoding, dtype: torch.dtype) -> Tensor:
    if encoding == "bool":
        return ~allowed
    return torch.zeros(allowed.shape, dtype=dtype, device=allowed.device).masked_fill_(~allowed, -torch.inf)


def _decoded(name: str, encoded: Tensor) -> Tensor:
    if encoded.dtype == torch.bool:
        return ~encoded
    if encoded.is_floating_point():
        return encoded != -torch.inf
    raise MaskError(f"{name} must be bool or a floating type, got {encoded.dtype}")


def allowed_as_given(mask: Tensor, api: Api = "mha") -> Tensor:
    """Return what a raw mask of any dtype lets through, cell by cell; other than `allowed_from` it refuses nothing.

    Args:
        mask: Of any shape. In bool and integers, non-zero hides ("mha") or shows ("sdpa"); in floats -inf hides.
        api: Whose mask it is.

    Returns:
        Bool in the shape of the mask, True where a query may attend; for SDPA a bool mask is that itself.
    """
    if mask.is_floating_point():
        return mask != -torch.inf
    if mask.dtype == torch.bool:
        return mask if api == "sdpa" else ~mask
    return mask != 0 if api == "sdpa" else mask == 0


def as_given(allowed: Tensor, api: Api = "mha") -> Tensor:
    """Return the bool mask that an API takes for `allowed` (True = may attend), in the same shape."""
    return allowed if api == "sdpa" else ~allowed


def read(name: str, mask: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Return somebody's raw mask as a tensor on the CPU, of the dtype that it has.

    Args:
        name: What to call it in an error.
        mask: A tensor, an array, or nested lists.

    Raises:
        MaskError: It holds neither real numbers nor bools.
    """
    try:
        tensor = torch.as_tensor(mask).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        given = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise MaskError(f"{name} must hold real numbers or bools, got {given}") from None
    if tensor.is_complex():
        raise MaskError(f"{name} must hold real numbers or bools, got {tensor.dtype}")
    return tensor
