"""One call of `nn.MultiheadAttention`, or of its function, made into a record."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from mha_viz.attention.capture.projection import Projection
from mha_viz.attention.capture.random_state import RandomState
from mha_viz.attention.capture.store import Store, copy_of
from mha_viz.attention.records import LayerAttention, Passed

# So many units in the last place is what two orders of summation may differ by.
ROUNDING = 2000.0


@dataclass(frozen=True, eq=False)
class Reading:
    """A way to read the masks of a call.

    Attributes:
        call: With masks that are heeded as they are.
        why: What torch did, where it is not what it was told.
    """

    call: Projection
    why: str = ""


@dataclass(frozen=True, eq=False)
class Heard:
    """A call that has run.

    Attributes:
        name: Of the module.
        call: What it was given.
        passed: The masks as the user passed them, perhaps to a module further out.
        output: What it returned, [N, L, E]; None where a fast path kept it to itself.
        change: Says by how much what was returned differs from what an output of the explicit path stands for.
        tolerance: By how much rounding alone may change it.
        returned: Its second result.
        random: The state before it, where dropout was active.
        readings: Other ways to read the masks, to be tried where the first does not give what was returned.
    """

    name: str
    call: Projection
    passed: Passed
    output: Tensor | None
    change: Callable[[Tensor], float]
    tolerance: float
    returned: Tensor | None = None
    random: RandomState | None = None
    readings: tuple[Reading, ...] = ()


def heard(
    name: str, call: Projection, passed: Passed, result: tuple[Tensor, Tensor | None], random: RandomState | None
) -> Heard:
    """Return a call that gave its output, [L, N, E] or [L, E], and a second result."""
    output = call.as_batch(result[0])
    readings: tuple[Reading, ...] = ()
    if call.masks.is_causal:
        future = torch.ones(len(call.query), len(call.key), dtype=torch.bool, device=output.device).triu(1)
        readings = (Reading(call.masked(future, None), "took is_causal at its word and ignored attn_mask"),)
    return Heard(name, call, passed, output, partial(difference, output), rounding(output), result[1], random, readings)


class Multihead:
    """Reads such calls into a store, with inputs and parameters where `inside` says so."""

    def __init__(self, store: Store, *, inside: bool) -> None:
        self._store = store
        self._inside = inside
        self._modules: dict[Hashable, tuple[list[Tensor], nn.MultiheadAttention]] = {}

    def record(self, heard: Heard) -> None:
        """Add the record of a call, if it is wanted and there is room."""
        call = heard.call
        if call.query.is_meta:  # shapes without numbers
            return
        label = self._store.place(heard.name, call.shape, call.query.dtype)
        if label is None:
            return
        reading, output, weights, change = _read(heard)
        lost = _lost(weights, output)
        self._tell(label, heard, reading, change, lost=lost)
        kept = copy_of(weights)
        attn_mask, padding = self._masks(heard, reading)
        record = LayerAttention(
            name=label,
            weights=kept,
            output=copy_of(output),
            returned=_returned(heard, kept),
            output_change=torch.inf if lost else change,
            attn_mask=attn_mask,
            key_padding_mask=padding,
            extra_keys=call.extra_keys,
            dropout=call.dropout,
            passed=replace(
                heard.passed,
                attn_mask=self._store.mask(heard.passed.attn_mask),
                key_padding_mask=self._store.mask(heard.passed.key_padding_mask),
            ),
            call=call.call(copy_of, self._module(call)) if self._inside else None,
        )
        self._store.add(record, crossed=call.crossed, device=weights.device)

    def _masks(self, heard: Heard, reading: Reading) -> tuple[Tensor | None, Tensor | None]:
        """Return what hid keys, in the user's own words where torch took them at their word."""
        used, own = reading.call.masks, Passed("mha", None) if reading.why else heard.passed
        attn = used.attn_mask if own.attn_mask is None else own.attn_mask
        padding = self._store.mask(used.key_padding_mask if own.key_padding_mask is None else own.key_padding_mask)
        return self._store.mask(attn), padding[None] if padding is not None and padding.dim() == 1 else padding

    def _module(self, call: Projection) -> nn.MultiheadAttention:
        """Return the copy of a layer, made once as long as its parameters and settings stay."""
        parameters = [value for value in call.layer.values() if isinstance(value, Tensor)]
        settings = (value for value in call.layer.values() if not isinstance(value, Tensor))
        state = ((id(tensor), 0 if tensor.is_inference() else tensor._version) for tensor in parameters)
        key = (*state, *settings)
        if key not in self._modules:
            self._modules[key] = (parameters, call.module())  # a parameter that is kept gives its id to no other
        return self._modules[key][1]

    def _tell(self, label: str, heard: Heard, reading: Reading, change: float, *, lost: bool) -> None:
        if reading.why:
            self._store.note(f"{label} {reading.why}: the weights are those that it used.")
        if lost:
            self._store.note(
                f"{label} has queries that may see no key: their weights are NaN on the explicit path that is shown, "
                "while the path that your call took gave numbers."
            )
        if change > heard.tolerance:
            why = ": dropout draws other cells on that path" if heard.random else ""
            self._store.note(
                f"{label} gives an output that differs by up to {change:.3g} when it returns weights{why}; the weights "
                "that are shown are not quite those of your call."
            )


def _read(heard: Heard) -> tuple[Reading, Tensor, Tensor, float]:
    """Return how the masks were read, the output [N, L, E], the weights and the change of output they stand for."""
    call, returned = heard.call, heard.returned
    first = Reading(call)
    if heard.output is not None and returned is not None and returned.dim() == (4 if call.batched else 3):
        return first, heard.output, returned if call.batched else returned[None], 0.0
    random = heard.random.again if heard.random else nullcontext
    found: list[tuple[float, Reading, Tensor, Tensor]] = []
    refused: list[Exception] = []
    for reading in (first, *heard.readings):
        try:
            explicit, weights = reading.call.weights(random)
        except (RuntimeError, AssertionError) as error:  # a mask at which the path that the call took did not look
            refused.append(error)
            continue
        found.append((heard.change(explicit), reading, explicit, weights))
        if found[-1][0] <= heard.tolerance:
            break
    if not found:
        raise refused[0]
    change, reading, explicit, weights = min(found, key=lambda one: one[0])
    return reading, explicit if heard.output is None else heard.output, weights, change


def _lost(weights: Tensor, output: Tensor) -> bool:
    """Return whether a query has a NaN in its weights and none in its output."""
    unseen = weights.isnan().any(-1).any(1)  # [N, L]
    return bool((unseen & ~output.isnan().any(-1)).any())


def _returned(heard: Heard, kept: Tensor) -> Tensor | None:
    if heard.returned is None:
        return None
    returned = heard.returned if heard.call.batched else heard.returned[None]
    return kept if returned.dim() == 4 else copy_of(returned)


def difference(one: Tensor, other: Tensor, *, nan_is_alike: bool = True) -> float:
    """Return the largest difference; where just one is NaN there is none, or if not `nan_is_alike` an infinite one."""
    if not one.numel():
        return 0.0
    if not nan_is_alike and not torch.equal(one.isnan(), other.isnan()):
        return torch.inf
    return float((one - other).abs().nan_to_num(nan=0.0).max())


def rounding(output: Tensor) -> float:
    """Return by how much an output may differ when the same sums are taken in another order."""
    if output.is_meta or not output.numel():
        return 0.0
    largest = float(output.abs().nan_to_num().max())
    return ROUNDING * torch.finfo(output.dtype).eps * max(1.0, largest)
