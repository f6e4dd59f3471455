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
    rows, columns = (math.ceil(n / size) for n in whole.shape)
    return blocks(whole, (rows, columns), how)


def blocks(whole: Tensor, sides: tuple[int, int], how: str) -> NDArray[np.float64]:
    """Return blocks of so many rows and columns as their maximum or mean, leaving NaN out."""
    values = whole.double().cpu().numpy()
    rows, columns = (min(n, side) for n, side in zip(values.shape, sides, strict=True))
    padding = [(0, -n % side) for n, side in zip(values.shape, (rows, columns), strict=True)]
    padded = np.pad(values, padding, constant_values=np.nan)
    cut = padded.reshape(padded.shape[0] // rows, rows, -1, columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # blocks of NaN alone
        return np.nanmax(cut, (1, 3)) if how == "max" else np.nanmean(cut, (1, 3))
