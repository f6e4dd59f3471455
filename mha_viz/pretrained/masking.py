"""What a model's attention hid, in the form of `nn.MultiheadAttention`: read off the mask that it was really given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mha_viz.masks.encode import as_given

NAMES = ("attention_mask", "mask")


def module_masks(
    arguments: Mapping[str, Any], padding: Tensor | None, weights: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Return `attn_mask` and `key_padding_mask` of one call.

    Args:
        arguments: What the attention was called with; a mask of four dimensions among it says what was hidden, and
            most models pass one.
        padding: Bool [N, S], True where a key is padding; None where the model knows of none.
        weights: [N, H, L, S]; where no mask was passed, keys are taken as hidden whose weights are exactly 0
            throughout: all padding, or all that comes after the query.

    Returns:
        Bool [L, S] or [N·H, L, S], and bool [N, S]; each True where hidden, or None where it hides nothing.
    """
    padding = padding if padding is not None and padding.any() else None
    given = next((m for name in NAMES if isinstance(m := arguments.get(name), Tensor) and m.dim() == 4), None)
    if given is None:
        return _seen_in(weights, padding)
    n, heads, length, keys = weights.shape
    hidden = _hidden(given[..., :keys]).expand(n, -1, length, keys)  # [N, 1 | H, L, S]
    by_padding = torch.zeros_like(hidden) if padding is None else padding[:, None, None].expand_as(hidden)
    if (by_padding & ~hidden).any():  # padding that is not hidden everywhere is no key_padding_mask
        padding, by_padding = None, torch.zeros_like(hidden)
    common = hidden.all(dim=1).all(dim=0)  # [L, S]
    if torch.equal(common | by_padding, hidden):
        return (common if common.any() else None), padding
    return hidden.expand(n, heads, length, keys).flatten(0, 1), padding


def _hidden(given: Tensor) -> Tensor:
    """Return True where a mask hides: bool ones are SDPA's; added ones hide by a number as low as the dtype has."""
    if given.is_floating_point():
        return given <= torch.finfo(given.dtype).min / 2
    return as_given(given.bool())


def _seen_in(weights: Tensor, padding: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    length, keys = weights.shape[2:]
    after = torch.ones(length, keys, dtype=torch.bool, device=weights.device).triu(1)
    causal = length == keys > 1 and not weights[..., after].any()
    hides = padding is not None and not weights.masked_select(padding[:, None, None]).any()
    return (after if causal else None), (padding if hides else None)
