"""`mv.run` against a bare call of the same module with everything ready."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

import mha_viz as mv
from mha_viz.attention.layer import arguments, module
from mha_viz.inputs.assemble import build

SIZES = [(4, 16), (8, 64), (8, 512), (8, 1024)]


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main(rounds: int) -> None:
    print(f"{'forward, causal, embed_dim 64':34}{'module':>10}{'mv.run':>10}{'ratio':>8}")
    for heads, length in SIZES:
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
        print(f"{heads} x {length}^2".ljust(34) + f"{module_time * 1e3:8.2f}ms{run_time * 1e3:8.2f}ms{ratio:8.2f}")
    print()
