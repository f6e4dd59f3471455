"""Heads as small pictures of one shape, pooled without losing a large weight, a violation or NaN.

Blocks are pooled as in `pooling`, but to a given shape: sides need not divide, and small weights are repeated to fill.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mha_viz.attention.records import LayerAttention
from mha_viz.figures import grammar, states
from mha_viz.figures.grammar import NAN, Codes, Floats


def tiles(
    layer: LayerAttention, item: int, shape: tuple[int, int], *, by_row: bool = False
) -> tuple[Floats, Floats, Codes]:
    """Return each head of one layer as a small picture of the given shape, which it fills.

    A cell that stands for several has the largest of their weights; it is violated or NaN if any of them is, and
    masked only if all are. A weight that stands for several cells is repeated.

    Args:
        layer: The layer.
        item: Batch item.
        shape: Height and width of the pictures.
        by_row: Whether the values are shares of each row's largest weight.

    Returns:
        Weights [H, height, width], values for the colours (the same array unless `by_row`), and codes of the states.
    """
    given = layer.held[item].float()  # [H, L, S]
    weights = _fitted(given, shape).cpu().numpy()
    values = weights
    if by_row:
        shares, *_ = grammar.scaled(given.cpu().numpy(), "per row")
        values = _fitted(torch.from_numpy(shares), shape).numpy()
    found = _states(layer, item)
    fitted = {id(codes): _fitted_codes(codes, shape) for codes in found}  # heads mostly share their codes
    return weights, values, np.stack([fitted[id(codes)] for codes in found])


def _states(layer: LayerAttention, item: int) -> list[Codes | None]:
    """Return what `states.of_heads` does; where the heads share a mask and keep to it, without going head by head."""
    weights = layer.held[item]
    if layer.attn_allowed.shape[1] > 1 or weights.sum().isnan():  # one NaN makes the sum NaN
        return states.of_heads(layer, item)
    hidden = states.of_mask(layer, item, 0)
    if hidden is not None and (weights * torch.from_numpy(hidden > 0).to(weights.device)).amax() > 0:
        return states.of_heads(layer, item)
    return [hidden] * len(weights)


def side(count: int, size: int) -> int:
    """Return how many cells, at most `size`, a picture of `count` tokens has so that all are equally large if it can.

    They are as many as the tokens or a multiple of that; where the tokens are more than `size`, just `size`.
    """
    return count * (size // count) if count < size else size


def _fitted(values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return [..., L, S] with this height and width: blocks by their largest, NaN only where they hold nothing else."""
    bad = values.isnan()
    if not bad.any():
        return _largest(values, shape)
    found = _largest(values.masked_fill(bad, -torch.inf), shape)
    return found.masked_fill(found == -torch.inf, torch.nan)


def _largest(values: Tensor, shape: tuple[int, int]) -> Tensor:
    length, keys = values.shape[-2:]
    height, width = min(length, shape[0]), min(keys, shape[1])
    if (height, width) != (length, keys):
        values = F.adaptive_max_pool2d(values, (height, width))
    if (height, width) == shape:
        return values
    rows, columns = (torch.arange(many) * few // many for many, few in zip(shape, (height, width), strict=True))
    return values[..., rows.to(values.device)[:, None], columns.to(values.device)]


def _fitted_codes(codes: Codes | None, shape: tuple[int, int]) -> Codes:
    if codes is None:
        return np.zeros(shape, dtype=np.uint8)
    given = torch.from_numpy(codes).float()[None]
    top, hidden = _largest(given, shape)[0], -_largest(-given, shape)[0]  # plain cells are 0: hidden only if all are
    found: Codes = torch.where(top >= NAN, top, hidden).to(torch.uint8).numpy()
    return found
