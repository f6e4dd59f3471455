"""The records of a capture, within its limit of memory."""

from __future__ import annotations

import warnings
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mha_viz.attention.capture.chosen import Chosen
from mha_viz.attention.records import LayerAttention, Passed
from mha_viz.errors import CaptureWarning

MEGABYTE = 2**20


@dataclass(eq=False)
class Store:
    """Keeps tensors on the CPU, so that what is captured does not fill the device.

    Attributes:
        chosen: What is kept of what is seen.
        limit_mb: Megabytes that may be held.
        records: What is held, in call order.
        crossed: For each record, whether its keys are another sequence than its queries.
        norms: Name and [N, L] of the residual stream.
        notes: Sentences for the Run.
        left_out: Names of the calls for which there was no room.
        seen: Names of the modules that attended, chosen or not, and how often.
        device: Where the first record was computed.
    """

    chosen: Chosen
    limit_mb: float
    records: list[LayerAttention] = field(default_factory=list)
    crossed: list[bool] = field(default_factory=list)
    norms: list[tuple[str, Tensor]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    device: str = "cpu"
    _held: dict[int, Tensor] = field(default_factory=dict)
    _kept: dict[int, tuple[weakref.ref[Tensor], int, Tensor]] = field(default_factory=dict)
    _bytes: int = 0

    def place(self, name: str, shape: torch.Size | tuple[int, ...], dtype: torch.dtype) -> str | None:
        """Return what to call the next record of a module, or None where its weights are not wanted or do not fit.

        Args:
            name: Of the module.
            shape: Of the weights before anything is chosen, [N, H, L, S].
            dtype: Of the weights.
        """
        self.seen[name] += 1
        label = name if self.seen[name] == 1 else f"{name} (call {self.seen[name]})"
        if not self.chosen.wants(name):
            return None
        n, h = self.chosen.share(shape[0], shape[1])
        if n * h == 0:
            self.note(f"{label} has {shape[1]} heads and {shape[0]} batch items, none of which was chosen.")
            return None
        return label if self._fits(label, n * h * shape[2] * shape[3] * dtype.itemsize) else None

    def add(self, record: LayerAttention, *, crossed: bool, device: torch.device) -> None:
        """Hold the chosen part of a record, if it fits."""
        part = self.chosen.of_record(record)
        new = {id(tensor): tensor for tensor in _tensors(part) if id(tensor) not in self._held}
        if not self._fits(part.name, sum(tensor.nbytes for tensor in new.values())):
            return
        self._bytes += sum(tensor.nbytes for tensor in new.values())
        self._held |= new
        if not self.records:
            self.device = str(device)
        self.records.append(part)
        self.crossed.append(crossed)

    def note(self, sentence: str) -> None:
        """Keep a sentence, once."""
        self.notes.setdefault(sentence)

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Have what fails within the block cost a record, and leave the model its result."""
        try:
            yield
        except Warning:  # whoever turned ours into an error
            raise
        except Exception as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            self.note(f"The weights of a call of {name} could not be read: {why}")

    def mask(self, tensor: Tensor | None) -> Tensor | None:
        """Return a copy of a mask, which layers share that share the mask, as long as nobody writes into it."""
        if tensor is None:
            return None
        version = 0 if tensor.is_inference() else tensor._version
        source, then, copied = self._kept.get(id(tensor), (None, 0, tensor))
        if source is None or source() is not tensor or then != version:
            copied = copy_of(tensor)
            self._kept[id(tensor)] = (weakref.ref(tensor), version, copied)
        return copied

    def forget(self) -> None:
        """Forget which copy is whose: the next block makes its own."""
        self._kept.clear()

    def _fits(self, label: str, size: int) -> bool:
        if self._bytes + size <= self.limit_mb * MEGABYTE:
            return True
        if not self.left_out:
            warnings.warn(
                f"capture holds {self._bytes / MEGABYTE:.3g} MB and {label} would add {size / MEGABYTE:.3g} MB, more "
                f"than limit_mb={self.limit_mb:g}: it is left out, and so is whatever else does not fit. Raise "
                "limit_mb, or choose layers, heads or items.",
                CaptureWarning,
                stacklevel=2,
            )
        self.left_out.append(label)
        return False


def copy_of(tensor: Tensor) -> Tensor:
    """Return a plain copy on the CPU: detached, and usable outside of `torch.inference_mode`."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.detach().to("cpu", copy=True)


def _tensors(record: LayerAttention) -> list[Tensor]:
    passed = record.passed or Passed("mha", None)
    call = () if record.call is None else (record.call.query, record.call.key, record.call.value)
    every = (record.weights, record.output, record.returned, record.attn_mask, record.key_padding_mask)
    return [t for t in (*every, passed.attn_mask, passed.key_padding_mask, *call) if t is not None]
