"""`mv.check` and `mv.recognise` of large masks: seconds, and the memory they take beside the mask (Linux only).

Every line is measured in a process of its own, so that memory which one call left behind is not another's for free.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

import mha_viz as mv
from benchmarks.table import Measured, Table

LENGTHS = [1024, 4096]
BATCH = 8
MiB = 2**20


def future(length: int) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).triu(1)


def added(length: int, hides: float) -> Tensor:
    return torch.zeros(length, length).masked_fill_(future(length), hides)


def window(length: int) -> Tensor:
    return mv.mask("causal & window(64)").allowed(length)


MASKS: dict[str, Callable[[int], Tensor]] = {
    "bool": future,
    "bool, inverted window": window,
    "float, -inf": lambda length: added(length, -torch.inf),
    "float, -10": lambda length: added(length, -10.0),
    "float, finfo.min": lambda length: added(length, torch.finfo(torch.float32).min),
}


def padding(mask: Tensor) -> Tensor:
    """[N, S], at the start, where it empties rows of a causal mask; of the type of the mask."""
    real = torch.linspace(mask.shape[-1] // 2, mask.shape[-1], BATCH).long()[:, None]
    hidden = torch.arange(mask.shape[-1] - 1, -1, -1) >= real
    if mask.dtype == torch.bool:
        return hidden
    return torch.zeros(hidden.shape).masked_fill_(hidden, float(mask.min()))


CALLS: dict[str, Callable[[Tensor], object]] = {
    "check": lambda mask: mv.check(mask),
    "intent": lambda mask: mv.check(mask, intent="causal"),
    "intent, padding": lambda mask: mv.check(mask, padding(mask), num_heads=8, intent="causal"),
    "recognise": lambda mask: mv.recognise(mask),
}


def memory(line: str) -> int:
    """Return VmRSS, what this process holds, or VmHWM, the most it held, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(row.split()[1]) * 1024 for row in status.splitlines() if row.startswith(line))


def measured(name: str, call: str, length: int, rounds: int) -> tuple[float, float]:
    """Return the median seconds of a call, and how many bytes it takes at most."""
    CALLS[call](MASKS[name](16))
    mask = MASKS[name](length)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most it held is now what it holds
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        CALLS[call](mask)
        times.append(time.perf_counter() - start)
    return median(times), max(0, memory("VmHWM") - before)


def main(rounds: int, lengths: list[int] = LENGTHS) -> Measured:
    caption = f"Seconds, and memory beside the mask at its peak; medians of {rounds}."
    table = Table(["mask", *CALLS], caption).show()
    for length in lengths:
        for name in MASKS:
            cells = []
            for call in CALLS:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                    seconds, peak = alone.submit(measured, name, call, length, rounds).result()
                cells.append(f"{seconds:.3f} s, {peak / MiB:.0f} MiB")
            table.add(f"{length:,}², {name}", *cells)
    return Measured([table])
