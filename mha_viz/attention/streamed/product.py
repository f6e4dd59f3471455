"""Products of queries and keys, by what is fastest on this CPU and as exact as `torch.mm`."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

WIDEST = 128
"""Numbers in a row up to which oneDNN's sums of products are as exact as MKL's; of 256 they err 1.4 times as much."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a · bᵀ, [rows of a, rows of b], in memory of its own.

    Args:
        a: [rows, D], float32 or float64.
        b: Likewise, on the same device.
    """
    suits = a.dtype == torch.float32 and a.device.type == "cpu" and a.shape[1] <= WIDEST
    if suits and torch.backends.mkldnn.enabled and is_onednn_faster():
        return _onednn(a, b)
    return a @ b.T


@lru_cache(maxsize=1)
def is_onednn_faster() -> bool:
    """Return whether oneDNN is there, and known to be faster than MKL, with which `torch.mm` computes float32.

    That is taken for so where a CPU has AVX-512, of which MKL makes use on Intel's alone: on an AMD EPYC oneDNN takes
    0.45 times as long. torch has no public call for its products of float32; the operator of compiled models serves,
    where a small product shows that it is there and means the same.
    """
    if not torch.backends.mkldnn.is_available() or "AVX512" not in torch.backends.cpu.get_cpu_capability():
        return False
    a, b = (torch.arange(rows * 3, dtype=torch.float32).view(rows, 3) for rows in (2, 4))
    try:
        return torch.equal(_onednn(a, b), a @ b.T)
    except (AttributeError, RuntimeError, TypeError):  # another torch, which calls it otherwise
        return False


def _onednn(a: Tensor, b: Tensor) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    return found
