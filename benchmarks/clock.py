"""How long one call takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from mha_viz.attention.device import synchronise


def seconds(call: Callable[[], object], device: str = "cpu") -> float:
    """Return how long a call takes, until the device has done what it was asked for."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start
