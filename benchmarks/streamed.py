"""Streamed attention against the fused kernel's own forward, which does the same products (8 heads of 64, float32).

The kernel computes the output and a log-sum-exp for each row, in one pass. A pass for the overviews computes a
log-sum-exp, the maximum and the mean of each block of the weights; one with statistics also the entropy, distance,
row sum and largest keys of each row and the mass of each column. Memory is what a process of its own takes at most,
over what it held with the operands ready (Linux only).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.doctor import memory
from benchmarks.table import Measured, Table, load
from mha_viz.attention.device import seconds
from mha_viz.attention.streamed import StreamedAttention

HEADS, DIM = 8, 64
LENGTHS = [4_096, 16_384]
MASKS = ["full", "causal"]
FUSED, OVERVIEWS, ROWS, WINDOW = "fused", "overviews", "with rows", "window"
COLUMNS = [
    "tokens, mask",
    "fused forward",
    "max and mean overview",
    "ratio",
    "with row statistics",
    "ratio",
    "window 8 × 512²",
    "memory",
    "memory, with rows",
    "load",
]
MiB = 2**20


def operands(length: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, HEADS, length, DIM, generator=draw) for _ in range(3))
    return q, k, v


def calls(length: int, mask: str) -> dict[str, Callable[[], object]]:
    """Return what is timed: the kernel first, then passes of a new object each time, then a window of a ready one."""
    q, k, v = operands(length)
    ready = StreamedAttention(q, k, mask=mask)

    def windows() -> None:
        ready.windows(None, slice(length // 2, length // 2 + 512), slice(0, 512))

    ready.prepare()
    windows()
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return {
        FUSED: lambda: fused(q, k, v, 0.0, mask == "causal"),
        OVERVIEWS: lambda: StreamedAttention(q, k, mask=mask).prepare(),
        ROWS: lambda: StreamedAttention(q, k, mask=mask).prepare(rows=True),
        WINDOW: windows,
    }


def peak(length: int, mask: str, rows: bool) -> int:
    """Return how many bytes a pass over all heads takes at most, beside its operands; in a process of its own."""
    q, k, _ = operands(512)
    StreamedAttention(q, k, mask=mask).prepare(rows=rows)
    q, k, _ = operands(length)
    attention = StreamedAttention(q, k, mask=mask)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most it held is now what it holds
    attention.prepare(rows=rows)
    return max(0, memory("VmHWM") - before)


def alone(length: int, mask: str, rows: bool) -> int:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(peak, length, mask, rows).result()


def main(rounds: int, lengths: Sequence[int] = LENGTHS) -> Measured:
    """Measure each length with each mask; 65,536 tokens are left to `--lengths`, for they take minutes."""
    caption = (
        f"{HEADS} heads of {DIM}, float32. Ratios to the fused forward of the same round, medians; the number of "
        "rounds is in brackets. Memory is what a pass over all heads takes at most beside its operands."
    )
    found = Table(COLUMNS, caption).show()
    figures = []
    for length in lengths:
        for mask in MASKS:
            count = max(3, rounds // 3) if length <= 4_096 else min(3, rounds)
            figures.append(_measured(length, mask, count))
            found.add(*_cells(figures[-1], count))
    return Measured([found], figures)


def _measured(length: int, mask: str, rounds: int) -> dict[str, Any]:
    timed = calls(length, mask)
    each = [[seconds(call) for call in timed.values()] for _ in range(rounds)]
    medians = dict(zip(timed, map(median, zip(*each, strict=True)), strict=True))
    ratios = {f"{name} / fused": median(times[i] / times[0] for times in each) for i, name in enumerate(timed)}
    memories = {name: alone(length, mask, rows) for name, rows in (("memory", False), ("memory with rows", True))}
    return {"length": length, "mask": mask, **medians, **ratios, **memories, "load": load()}


def _cells(figure: dict[str, Any], rounds: int) -> list[str]:
    return [
        f"{figure['length']:,}, {figure['mask']} ({rounds})",
        f"{figure[FUSED]:.3f} s",
        *(text for name in (OVERVIEWS, ROWS) for text in (f"{figure[name]:.3f} s", f"{figure[f'{name} / fused']:.2f}")),
        f"{figure[WINDOW] * 1e3:.1f} ms",
        *(f"{figure[name] / MiB:.0f} MiB" for name in ("memory", "memory with rows")),
        f"{figure['load']:.1f}",
    ]
