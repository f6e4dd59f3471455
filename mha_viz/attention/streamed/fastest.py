"""Which pieces a device computes at once: those that were measured for CPUs, and on a GPU the fastest of some."""

from __future__ import annotations

import threading
from functools import lru_cache, partial

import torch
from torch import Tensor

from mha_viz.attention.device import seconds
from mha_viz.attention.streamed import plan
from mha_viz.attention.streamed.operands import Operands
from mha_viz.attention.streamed.plan import Cut
from mha_viz.attention.streamed.sight import Sight
from mha_viz.attention.streamed.signals import never
from mha_viz.attention.streamed.sweep import Sweep, blank
from mha_viz.masks import mask

# One block of the most queries and four tiles of the most keys: milliseconds on a GPU.
QUERIES, KEYS = 2_048, 16_384
ROUNDS = 3

_one_at_a_time = threading.Lock()  # two that are measured together would slow each other


def cut_for(key: Tensor, *, whole: bool = False) -> Cut:
    """Return the largest pieces for the device on which keys lie.

    A GPU is measured once in a process for each width of heads and number format; where two cuts are as fast, the next
    process may pick the other, and with it the last bits of sums.

    Args:
        key: [..., D], on the device.
        whole: Whether nothing will be skipped, which only a CPU's cut depends on.
    """
    if key.device.type == "cpu":
        return plan.CPU_WHOLE if whole else plan.CPU
    with _one_at_a_time:
        return _fastest(str(key.device), key.dtype, key.shape[-1])


@lru_cache(maxsize=64)
def _fastest(device: str, dtype: torch.dtype, width: int) -> Cut:
    found = times(device, dtype, width)
    return min(found, key=found.__getitem__)


def times(device: str, dtype: torch.dtype, width: int) -> dict[Cut, float]:
    """Return the seconds that a part of a pass over one head takes with each cut for GPUs, the least of some rounds.

    One for which the memory of the device is too small takes forever.

    Args:
        device: Where, as torch spells it.
        dtype: float32 or float64.
        width: Numbers in a query and a key of the head.
    """
    query, key = (torch.ones(1, 1, count, width, dtype=dtype, device=device) for count in (QUERIES, KEYS))
    operands = Operands.of(query, key, None, Sight(mask("full"), None, None, (1, 1, QUERIES, KEYS), 0))
    return {cut: _least(operands, cut, device) for cut in plan.GPU}


def _least(operands: Operands, cut: Cut, device: str) -> float:
    try:
        _pass(operands, cut)  # the first one prepares kernels and memory
        return min(seconds(partial(_pass, operands, cut), device) for _ in range(ROUNDS))
    except torch.OutOfMemoryError:
        return float("inf")


@torch.no_grad()
def _pass(operands: Operands, cut: Cut) -> None:
    sweep = Sweep(operands, 0, 512, {0: blank(operands, 512, rows=False, output=False)}, cut)
    for call in sweep.calls(1):
        sweep.do(call, never)
