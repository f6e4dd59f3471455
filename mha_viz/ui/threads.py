"""How many threads torch uses while pages are drawn: every rerun has a thread of its own."""

from __future__ import annotations

import torch


def settle() -> None:
    """Make OpenMP use torch's number of threads in the calling thread.

    It would otherwise start a pool for every core at the thread's first product, 10 ms on two cores. Asking torch for
    its number hands it over.
    """
    torch.get_num_threads()
