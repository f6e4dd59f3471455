"""`mv.run` and `mv.trace` against a bare call of the same module with everything ready."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor

import mha_viz as mv
from benchmarks.table import Measured, Table
from mha_viz.attention.device import seconds
from mha_viz.attention.layer import arguments, module
from mha_viz.inputs.assemble import build

SIZES = [(4, 16), (8, 64), (8, 512), (8, 1024)]


def bare(s: mv.Scenario) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a plain call of a Scenario's layer, as anyone would write it, with everything ready."""
    return partial(module(s), **arguments(s, build(s)), need_weights=True, average_attn_weights=False)


def bare_weights(s: mv.Scenario) -> Tensor:
    """Return the weights [N, H, L, S] of such a call."""
    with torch.no_grad():
        return bare(s)()[1]


def main(rounds: int, sizes: list[tuple[int, int]] = SIZES) -> Measured:
    """Measure a run, and a trace with every step between inputs and output, in turn with the bare call."""
    caption = (
        "Causal mask, embed_dim 64, everything that the call needs made beforehand; ratios to the module's call of the "
        f"same round, medians of {rounds * 4}."
    )
    found = Table(["heads × tokens²", "module", "`mv.run`", "ratio", "`mv.trace`", "ratio"], caption).show()
    for heads, length in sizes:
        s = mv.Scenario(source="normal", num_heads=heads, query_len=length, mask="causal")
        calls: list[Callable[[], object]] = [bare(s), partial(mv.run, s), partial(mv.trace, s)]
        for _ in range(3):
            for call in calls:
                call()
        each = [[seconds(call) for call in calls] for _ in range(rounds * 4)]
        module_time, run_time, trace_time = map(median, zip(*each, strict=True))
        run_ratio, trace_ratio = (median(times[i] / times[0] for times in each) for i in (1, 2))
        cells = [f"{module_time * 1e3:.2f} ms", f"{run_time * 1e3:.2f} ms", f"{run_ratio:.2f}"]
        found.add(f"{heads} × {length:,}²", *cells, f"{trace_time * 1e3:.2f} ms", f"{trace_ratio:.2f}")
    return Measured([found])
