"""Streamed attention on a GPU against what torch has for it: `nn.MultiheadAttention` and FlexAttention, 8 heads of 64.

The module projects its input and returns the averaged weights of all heads with its output, or the output alone;
FlexAttention returns output and log-sum-exp of projected operands, compiled. A pass of ours over the same operands
returns the overviews, or them and the statistics of all rows. Clocks start and stop with the device synchronised, and
memory is what the allocator of CUDA gave at most beside the operands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import AuxRequest, create_block_mask, flex_attention

from benchmarks.streamed import DIM, HEADS, MASKS, OVERVIEWS, ROWS, WINDOW, MiB, operands
from benchmarks.table import Measured, Table
from mha_viz.attention.device import available, seconds
from mha_viz.attention.streamed import StreamedAttention, fastest

LENGTHS = [4_096, 16_384, 65_536, 131_072]
WEIGHTS, OUTPUT, FLEX, NORMALISERS = "module, weights", "module, output", "FlexAttention", "log-sum-exp alone"

Call = Callable[[], object]
Taken = tuple[float, int | None]  # seconds, and bytes where they are counted


def on(device: str, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value, [1, H, L, D] each."""
    q, k, v = (tensor.to(device) for tensor in operands(length))
    return q, k, v


def passes(length: int, mask: str, device: str, rows: bool) -> Call:
    """Return a pass of a new object each time."""
    q, k, _ = on(device, length)
    return lambda: StreamedAttention(q, k, mask=mask).prepare(rows=rows)


def window(length: int, mask: str, device: str) -> Call:
    """Return windows of all heads of an object that is ready."""
    q, k, _ = on(device, length)
    ready = StreamedAttention(q, k, mask=mask)
    ready.prepare()
    middle = slice(length // 2, length // 2 + 512)
    return lambda: ready.windows(None, middle, slice(0, 512))


def normalisers(length: int, mask: str, device: str) -> Callable[[], Tensor]:
    """Return what finds the log-sum-exp of each row, [H, L], without a pass: the price of a first window."""
    q, k, _ = on(device, length)

    def call() -> Tensor:
        fresh = StreamedAttention(q, k, mask=mask)
        return torch.stack([fresh.log_sum_exp(head) for head in range(HEADS)])

    return call


def module(length: int, mask: str, device: str, weights: bool) -> Call:
    """Return a call of the module as its users write it, the mask made beforehand."""
    layer = nn.MultiheadAttention(HEADS * DIM, HEADS, batch_first=True, device=device).eval()
    x = torch.randn(1, length, HEADS * DIM, device=device)
    if mask == "full":
        return lambda: layer(x, x, x, need_weights=weights)
    if not weights:  # `is_causal` says it all; the mask that must go with it costs nothing
        hint = torch.zeros((), device=device).expand(length, length)
        return lambda: layer(x, x, x, need_weights=False, attn_mask=hint, is_causal=True)
    hidden = torch.ones(length, length, dtype=torch.bool, device=device).triu(1)
    return lambda: layer(x, x, x, need_weights=True, attn_mask=hidden)


def flex(length: int, mask: str, device: str) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a call of FlexAttention for output and log-sum-exp; without CUDA it is not compiled."""
    q, k, v = on(device, length)
    on_cuda = device.startswith("cuda")
    attend = torch.compile(flex_attention, dynamic=False) if on_cuda else flex_attention
    sight = None
    if mask == "causal":  # uncompiled, all L × L cells of the mask would be made first
        sight = create_block_mask(_causal, None, None, length, length, device=device, _compile=on_cuda)

    def call() -> tuple[Tensor, Tensor]:
        output, found = attend(q, k, v, block_mask=sight, return_aux=AuxRequest(lse=True))
        return output, found.lse

    return call


def _causal(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
    return q >= k


# What makes each call of a line ready, from a length, a mask and a device; any of them may run out of memory.
LINE: dict[str, Callable[[int, str, str], Call]] = {
    WEIGHTS: partial(module, weights=True),
    OUTPUT: partial(module, weights=False),
    FLEX: flex,
    OVERVIEWS: partial(passes, rows=False),
    ROWS: partial(passes, rows=True),
    NORMALISERS: normalisers,
    WINDOW: window,
}


def taken(make: Callable[[], Call], rounds: int, device: str) -> Taken | None:
    """Return the median of some calls in seconds, and the bytes that they took at most; None if they do not fit."""
    try:
        with torch.no_grad():
            call = make()
            call()
            before = _marked(device)
            time = median(seconds(call, device) for _ in range(rounds))
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None
    return time, None if before is None else torch.cuda.max_memory_allocated(device) - before


def _marked(device: str) -> int | None:
    """Let the most that is allocated be what is allocated now, and return that, where CUDA counts."""
    if not device.startswith("cuda"):
        return None
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


def main(rounds: int, lengths: Sequence[int] = LENGTHS, device: str | None = None) -> Measured | None:
    """Measure each length with each mask on a device, the first of CUDA if None; without one say so, and no more."""
    device = device or next((name for name in available() if name.startswith("cuda")), None)
    if device is None:
        print(f"Left out: torch {torch.__version__} finds no CUDA device on this machine.")
        return None
    caption = f"{HEADS} heads of {DIM}, float32, medians of {rounds}; – where the memory of the device is too small."
    columns = ["tokens, mask", *LINE, f"{OVERVIEWS} / {FLEX}", f"memory of {OVERVIEWS}", f"memory {ROWS}"]
    found = Table(columns, caption).show()
    for length in lengths:
        for mask in MASKS:
            line = {name: taken(partial(make, length, mask, device), rounds, device) for name, make in LINE.items()}
            found.add(f"{length:,}, {mask}", *cells(line))
    return Measured([found, pieces(device)], versions=_about(device))


def pieces(device: str) -> Table:
    """Return what a part of a pass takes with each cut that a GPU may use, as the first pass there finds it."""
    caption = f"{fastest.QUERIES:,} queries of one head and {fastest.KEYS:,} keys, the least of {fastest.ROUNDS}."
    found = Table(["queries × keys at once", "time"], caption).show()
    for cut, time in fastest.times(device, torch.float32, DIM).items():
        found.add(f"{cut.queries:,} × {cut.keys:,}", f"{time * 1e3:,.2f} ms")
    return found


def cells(line: Mapping[str, Taken | None]) -> list[str]:
    """Return the cells of a line after its name: the time of each call, a ratio, and the memory of both passes."""
    seconds = {name: found and found[0] for name, found in line.items()}
    held = [found and found[1] for found in (line[OVERVIEWS], line[ROWS])]
    overviews, peer = seconds[OVERVIEWS], seconds[FLEX]
    return [
        *("–" if time is None else f"{time * 1e3:,.1f} ms" for time in seconds.values()),
        f"{overviews / peer:.2f}" if overviews and peer else "–",
        *("–" if count is None else f"{count / MiB:,.0f} MiB" for count in held),
    ]


def _about(device: str) -> dict[str, str]:
    return {"CUDA": str(torch.version.cuda), "GPU": torch.cuda.get_device_name(device)} if "cuda" in device else {}
