"""One call of a module of torch, with the clock running and what it refuses said in a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from mha_viz.attention.device import synchronise
from mha_viz.errors import DeviceError, InputError
from mha_viz.scenario import Scenario

T = TypeVar("T")


def timed(s: Scenario, what: str, call: Callable[[], T]) -> tuple[T, float, int | None]:
    """Return what a call gives, its seconds with the device synchronised, and its peak bytes where CUDA counts them.

    Args:
        s: Names the device and the number format.
        what: What is called, for the sentence.
        call: The forward.

    Raises:
        DeviceError: The module has no kernel for this number format on this device.
        InputError: torch refuses the call; the sentence quotes it.
    """
    on_cuda = s.device.startswith("cuda")
    if on_cuda:
        torch.cuda.reset_peak_memory_stats(s.device)
    synchronise(s.device)
    start = time.perf_counter()
    try:
        result = call()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        if "not implemented" in str(error):
            message = f"dtype {s.dtype} is not supported by {what} on {s.device}: choose another dtype."
            raise DeviceError(message, field="dtype") from error
        raise InputError(f"{what} refused the call: {str(error).splitlines()[0]}") from error
    synchronise(s.device)
    return result, time.perf_counter() - start, torch.cuda.max_memory_allocated(s.device) if on_cuda else None
