"""What every named pattern means, written again as plain Python on single integers.

Each oracle takes the position (b, h, q, k), the sizes (N, H, L, S) and the arguments, and says whether q may attend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True)
class At:
    b: int
    h: int
    q: int
    k: int
    N: int
    H: int
    L: int
    S: int


def positions(N: int, H: int, L: int, S: int) -> Iterator[At]:
    for b, h, q, k in product(range(N), range(H), range(L), range(S)):
        yield At(b, h, q, k, N, H, L, S)


def table(says: Callable[[At], bool], N: int, H: int, L: int, S: int) -> Tensor:
    """Ask an oracle about every position: bool [N, H, L, S]."""
    return torch.tensor([says(at) for at in positions(N, H, L, S)]).reshape(N, H, L, S)


def document_of(position: int, lengths: tuple[int, ...]) -> int:
    for number, length in enumerate(lengths):
        if position < length:
            return number
        position -= length
    return len(lengths)


def random_pair(at: At, share: float, seed: int) -> bool:
    prime = 2147483647

    def scrambled(index: int, salt: int) -> int:
        value = (index * 48271 + salt * 1664525013) % prime
        for _ in range(2):
            value = (value**2 + 1013904223) % prime
        return value

    return scrambled(at.q, 2 * seed + 1) * scrambled(at.k, 2 * seed + 2) % prime < round(share * prime)


ORACLES: dict[str, Callable[..., bool]] = {
    "full": lambda at: True,
    "causal": lambda at: at.k in range(at.q + 1),
    "causal_bottom_right": lambda at: at.S - 1 - at.k >= at.L - 1 - at.q,
    "window": lambda at, r=4: at.k in range(at.q - r, at.q + r + 1),
    "dilated": lambda at, r=3, step=2: at.k in {at.q + i * step for i in range(-r, r + 1)},
    "strided": lambda at, step=4: at.q % step == at.k % step,
    "prefix": lambda at, n=4: at.k in range(n),
    "block": lambda at, size=4: any(
        {at.q, at.k} <= set(range(start, start + size)) for start in range(0, at.L + at.S, size)
    ),
    "document": lambda at, *lengths: document_of(at.q, lengths) == document_of(at.k, lengths),
    "global_tokens": lambda at, n=1: min(at.q, at.k) < n,
    "random": lambda at, share=0.1, seed=0: random_pair(at, share, seed),
    "bigbird": lambda at, r=2, n=1, share=0.1, seed=0: (
        abs(at.q - at.k) <= r or min(at.q, at.k) < n or random_pair(at, share, seed)
    ),
    "padding": lambda at, *lengths: at.b >= len(lengths) or at.k in range(lengths[at.b]),
    "left_padding": lambda at, *lengths: at.b >= len(lengths) or at.k in range(at.S)[max(0, at.S - lengths[at.b]) :],
    "cells": lambda at, *runs: any(
        at.q == runs[i] and at.k in range(runs[i + 1], runs[i + 2] + 1) for i in range(0, len(runs), 3)
    ),
}
