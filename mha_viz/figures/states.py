"""Which cells are masked, NaN or violated: one code a cell, as the grammar numbers them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.stats import of_item
from mha_viz.figures.grammar import BOTH, MASKED, NAN, PADDED, VIOLATION, Codes


def of_heads(layer: LayerAttention, item: int) -> list[Codes | None]:
    """Return codes [L, S] for each head, None where every cell is plain.

    Heads with the same codes share one array, which then travels to the browser once.
    """
    weights = layer.weights[item]  # [H, L, S]
    base = _hidden(layer, item)  # [H|1, L, S]
    if base is None:
        special = weights.isnan().flatten(1).any(dim=1).tolist()
        return [
            _marked(torch.zeros_like(w, dtype=torch.uint8), w) if bad else None
            for w, bad in zip(weights, special, strict=True)
        ]
    hidden = base > 0
    special = ((weights != 0) & hidden | weights.isnan()).flatten(1).any(dim=1).tolist()
    shared = [codes.cpu().numpy() for codes in base]
    return [
        _marked(base[h if len(base) > 1 else 0], weights[h]) if bad else shared[h if len(base) > 1 else 0]
        for h, bad in enumerate(special)
    ]


def of_average(layer: LayerAttention, item: int) -> Codes | None:
    """Return codes [L, S] for the average over heads; a cell is masked where it is masked in every head."""
    base = _hidden(layer, item)
    average = layer.average[item]
    if base is None:
        return _marked(torch.zeros_like(average, dtype=torch.uint8), average) if average.isnan().any() else None
    return _marked(base.amin(dim=0), average)


def of_mask(layer: LayerAttention, item: int, head: int) -> Codes | None:
    """Return codes [L, S] of what the masks alone hide from one head, None where they hide nothing."""
    base = _hidden(layer, item)
    if base is None:
        return None
    hidden: Codes = np.ascontiguousarray(base[head if len(base) > 1 else 0].cpu().numpy())
    return hidden


def _hidden(layer: LayerAttention, item: int) -> Tensor | None:
    """Return codes of which mask hides a cell, [H|1, L, S], or None if no mask was passed."""
    if layer.attn_mask is None and layer.key_padding_mask is None:
        return None
    by_mask, by_padding = ~of_item(layer.attn_allowed, item), ~of_item(layer.key_allowed, item)
    codes = by_mask.to(torch.uint8) * MASKED + by_padding.to(torch.uint8) * PADDED
    assert BOTH == MASKED + PADDED
    return codes.expand(-1, *layer.weights.shape[2:])


def _marked(codes: Tensor, weights: Tensor) -> Codes:
    marked = codes.masked_fill((codes > 0) & (weights > 0), VIOLATION).masked_fill(weights.isnan(), NAN)
    found: Codes = np.ascontiguousarray(marked.cpu().numpy())
    return found
