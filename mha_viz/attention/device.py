"""Which devices are there, waiting for them, and how long they take."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch

from mha_viz.errors import DeviceError


@lru_cache(maxsize=1)
def available() -> tuple[str, ...]:
    """Return the devices of this machine: `cpu`, then `cuda:0`, `cuda:1` and so on, then `mps`."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ("cpu", *cuda, *["mps"] * torch.backends.mps.is_available())


def resolve(device: str) -> str:
    """Return the device with its number (`cuda` is `cuda:0`).

    Raises:
        DeviceError: It is not on this machine.
    """
    full = "cuda:0" if device == "cuda" else device
    if full not in available():
        there = ", ".join(available())
        raise DeviceError(f"device {device!r} is not on this machine: choose one of {there}.", field="device")
    return full


def synchronise(device: str) -> None:
    """Wait until the device has done what it was asked, so that a clock means something."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device.startswith("mps"):
        torch.mps.synchronize()


def seconds(call: Callable[[], object], device: str = "cpu") -> float:
    """Return how long a call takes, until the device has done what it was asked for."""
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start
