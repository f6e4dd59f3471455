"""`mv.reach` through a two-layer encoder of width 256, against the same trials as one forward for each."""

from __future__ import annotations

from statistics import median

import torch
from torch import nn

from benchmarks.table import Measured, Table
from mha_viz.attention.device import seconds
from mha_viz.attention.reach import reach

WIDTH, HEADS, LAYERS = 256, 4, 2
LENGTHS = [32, 128]


def main(rounds: int, lengths: list[int] = LENGTHS) -> Measured:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, batch_first=True)
    encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False).eval()
    caption = f"Causal `nn.TransformerEncoder` of {LAYERS} layers, {WIDTH} wide; medians of {max(1, rounds // 3)}."
    table = Table(["tokens", "in batches", "one by one", "leaks found"], caption).show()
    for length in lengths:
        x, hidden = torch.randn(1, length, WIDTH), torch.ones(length, length, dtype=torch.bool).triu(1)

        def found(copies: int | None, x: torch.Tensor = x, hidden: torch.Tensor = hidden) -> torch.Tensor:
            return reach(encoder, x, mask=hidden, copies=copies)

        pairs = [(seconds(lambda: found(None)), seconds(lambda: found(1))) for _ in range(max(1, rounds // 3))]
        batched, alone = (median(pair[i] for pair in pairs) for i in (0, 1))
        leaks = int(found(None)[hidden].count_nonzero())
        table.add(f"{length}", f"{batched:.2f} s", f"{alone:.2f} s", str(leaks))
    return Measured([table])
