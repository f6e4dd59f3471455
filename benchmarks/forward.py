"""`mv.run` against a bare call of the same module with everything ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

import mha_viz as mv
from benchmarks.table import Measured, Table
from mha_viz.attention.layer import arguments, module
from mha_viz.inputs.assemble import build

SIZES = [(4, 16), (8, 64), (8, 512), (8, 1024)]


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bare_weights(s: mv.Scenario) -> Tensor:
    """Return the weights [N, H, L, S] of one plain call of a Scenario's layer, as anyone would get them."""
    with torch.no_grad():
        found = module(s)(**arguments(s, build(s)), need_weights=True, average_attn_weights=False)
    weights: Tensor = found[1]
    return weights


def main(rounds: int, sizes: list[tuple[int, int]] = SIZES) -> Measured:
    caption = f"Causal mask, embed_dim 64, everything that the call needs made beforehand; medians of {rounds * 4}."
    found = Table(["heads × tokens²", "module", "`mv.run`", "ratio"], caption).show()
    for heads, length in sizes:
        s = mv.Scenario(source="normal", num_heads=heads, query_len=length, mask="causal")
        layer, call = module(s), arguments(s, build(s))

        def bare(layer: torch.nn.Module = layer, call: dict[str, object] = call) -> object:
            return layer(**call, need_weights=True, average_attn_weights=False)

        def ours(s: mv.Scenario = s) -> object:
            return mv.run(s)

        for _ in range(3):
            bare(), ours()
        pairs = [(seconds(bare), seconds(ours)) for _ in range(rounds * 4)]
        module_time, run_time = (median(pair[i] for pair in pairs) for i in (0, 1))
        ratio = median(run / bare_time for bare_time, run in pairs)
        cells = [f"{module_time * 1e3:.2f} ms", f"{run_time * 1e3:.2f} ms", f"{ratio:.2f}"]
        found.add(f"{heads} × {length:,}²", *cells)
    return Measured([found])
