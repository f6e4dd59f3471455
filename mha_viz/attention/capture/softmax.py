"""A softmax over scores [N, H, L, S], as attention that is written out has it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mha_viz.attention.capture import hidden
from mha_viz.attention.capture.store import Store, copy_of
from mha_viz.attention.records import LayerAttention


def record(store: Store, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], weights: Tensor) -> None:
    """Add a record of a softmax over the last of four dimensions; another is none of attention.

    Args:
        store: Where to.
        name: Of the module that called.
        args: What the function was given.
        kwargs: Likewise.
        weights: What it returned, detached.
    """
    scores = args[0] if args else kwargs.get("input")
    dim = args[1] if len(args) > 1 else kwargs.get("dim")
    if not (
        isinstance(scores, Tensor) and weights.dim() == 4 and dim in (-1, 3) and weights.numel() and not weights.is_meta
    ):
        return
    n, h, length, keys = weights.shape
    label = store.place(name, weights.shape, weights.dtype)
    if label is None:
        return
    attn_mask, padding = hidden.as_masks(hidden.by_number(scores.detach()), (n, h, length, keys))
    record = LayerAttention(
        name=label,
        weights=copy_of(weights),
        output=None,
        returned=None,
        output_change=0.0,
        attn_mask=attn_mask,
        key_padding_mask=padding,
        how="softmax",
    )
    store.add(record, crossed=length != keys, device=weights.device)
