"""Weights and their pooling written out without streaming, to compare with."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def weights(query: Tensor, key: Tensor, allowed: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Return float64 weights [N, H, L, S] of [N, H, L, D] and [N, H, S, D]; rows that see nothing are NaN."""
    scores = query.double() @ key.double().mT / math.sqrt(query.shape[-1])
    if bias is not None:
        scores = scores + bias.double()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, dim=-1)


def pooled(whole: Tensor, size: int, how: str) -> NDArray[np.float64]:
    """Return blocks of ceil(L / size) × ceil(S / size) cells as their maximum or mean, leaving NaN out."""
    values = whole.double().cpu().numpy()
    sides = [math.ceil(n / size) for n in values.shape]
    padding = [(0, -n % side) for n, side in zip(values.shape, sides, strict=True)]
    padded = np.pad(values, padding, constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // sides[0], sides[0], -1, sides[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # blocks of NaN alone
        return np.nanmax(blocks, (1, 3)) if how == "max" else np.nanmean(blocks, (1, 3))
