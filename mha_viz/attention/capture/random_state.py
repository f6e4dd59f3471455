"""Dropout drawn twice alike: torch's random state before a call, for a second call that leaves no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RandomState:
    """The state of the CPU's generator and of the device's, where it has one of its own."""

    device: torch.device
    cpu: Tensor
    own: Tensor | None

    @classmethod
    def of(cls, device: torch.device) -> RandomState:
        """Read the present state."""
        own = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(device, torch.get_rng_state(), own)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw from this state within the block, and go on afterwards as if nothing had been drawn."""
        with torch.random.fork_rng(devices=[] if self.own is None else [self.device]):
            torch.set_rng_state(self.cpu)
            if self.own is not None:
                torch.cuda.set_rng_state(self.own, self.device)
            yield
