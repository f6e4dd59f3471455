"""Which cells are masked, NaN or violated: one code a cell, as the grammar numbers them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.stats import of_item
from mha_viz.figures.grammar import MASKED, NAN, PADDED, VIOLATION, Codes


def of_heads(layer: LayerAttention, item: int) -> list[Codes | None]:
    """Return codes [L, S] for each head, None where every cell is plain.

    Heads with the same codes share one array, which then travels to the browser once.
    """
    hidden = _hidden(layer, item)
    shared = None if hidden is None else [_array(codes) for codes in hidden]
    found: list[Codes | None] = []
    for head, weights in enumerate(layer.held[item]):
        of = 0 if hidden is None or len(hidden) == 1 else head
        marked = _marked(None if hidden is None else hidden[of], weights)
        found.append(marked if marked is not None or shared is None else shared[of])
    return found


def of_head(layer: LayerAttention, item: int, head: int) -> Codes | None:
    """Return codes [L, S] of one head, None where every cell is plain."""
    hidden = of_mask(layer, item, head)
    marked = _marked(None if hidden is None else torch.from_numpy(hidden), layer.held[item, head])
    return hidden if marked is None else marked


def of_average(layer: LayerAttention, item: int) -> Codes | None:
    """Return codes [L, S] for the average over heads; a cell is masked where it is masked in every head."""
    hidden = _hidden(layer, item)
    of_all = None if hidden is None else hidden.amin(dim=0)
    marked = _marked(of_all, layer.average[item])
    return marked if marked is not None or of_all is None else _array(of_all)


def of_mask(layer: LayerAttention, item: int, head: int) -> Codes | None:
    """Return codes [L, S] of what the masks alone hide from one head, None where no mask was passed."""
    hidden = _hidden(layer, item)
    return None if hidden is None else _array(hidden[head if len(hidden) > 1 else 0])


def _hidden(layer: LayerAttention, item: int) -> Tensor | None:
    """Return codes of which mask hides a cell, uint8 [H|1, L, S], or None if no mask was passed."""
    if layer.attn_mask is None and layer.key_padding_mask is None:
        return None
    by_mask, by_padding = ~of_item(layer.attn_allowed, item), ~of_item(layer.key_allowed, item)
    codes = by_mask.to(torch.uint8) * MASKED + by_padding.to(torch.uint8) * PADDED  # both together are BOTH
    return codes.expand(-1, *layer.weights.shape[2:])


def _marked(hidden: Tensor | None, weights: Tensor) -> Codes | None:
    """Return codes with violations and NaN marked, or None if there are none."""
    bad = weights.sum(dim=-1).isnan().any()  # a NaN makes its row's sum NaN
    leaks = None if hidden is None else (hidden.to(weights.device) > 0) & (weights > 0)
    if not bad and (leaks is None or not leaks.any()):
        return None
    codes = torch.zeros(weights.shape, dtype=torch.uint8) if hidden is None else hidden.cpu().clone()
    if leaks is not None:
        codes[leaks.cpu()] = VIOLATION
    codes[weights.isnan().cpu()] = NAN
    return _array(codes)


def _array(codes: Tensor) -> Codes:
    found: Codes = np.ascontiguousarray(codes.cpu().numpy())
    return found
