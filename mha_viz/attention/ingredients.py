"""What the steps inside a layer start from: its inputs and parameters, the mask, and what dropout drew.

It is put together from a Run, either of a Scenario or of a capture that kept what went in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.device import resolve
from mha_viz.attention.direct import merged_mask
from mha_viz.attention.forward import of_one_kind
from mha_viz.attention.layer import placed, seeded, shared_module
from mha_viz.attention.records import Call, LayerAttention
from mha_viz.attention.runs import Run, record_of
from mha_viz.errors import ScenarioError
from mha_viz.scenario import ATTENTION


@dataclass(frozen=True, eq=False)
class Ingredients:
    """Everything that the steps depend on.

    Attributes:
        call: The layer and its inputs, [N, L, E], [N, S, kdim] and [N, S, vdim].
        mask: Added to the scaled scores: 0, -inf or a bias, broadcastable to [N, H, L, S]; None adds nothing.
        factor: What dropout multiplies the softmax by, 0 or 1 / (1 - p), [N, H, L, S]; None where it is not active.
        off: Heads whose output is set to 0.
        temperature: What the scores are divided by beside sqrt(D).
    """

    call: Call
    mask: Tensor | None
    factor: Tensor | None = None
    off: tuple[int, ...] = ()
    temperature: float = 1.0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """[N, H, L, S] of the weights, extra keys included."""
        layer = self.call.module
        extra = (layer.bias_k is not None) + layer.add_zero_attn
        n, length, _ = self.call.query.shape
        return n, layer.num_heads, length, self.call.key.shape[1] + extra


def ingredients(run: Run, layer: int) -> Ingredients:
    """Return what went into a layer of a run.

    Args:
        run: A run of a Scenario, or one whose layer has its `call`.
        layer: Index into `run.layers`.

    Raises:
        ScenarioError: There is no such layer, or what went into it, or a part of it, was not kept.
    """
    record, call = record_of(run, layer), call_of(run, layer)
    n, length, keys = *call.query.shape[:2], call.key.shape[1]
    mask = added(call.module, record.attn_mask, record.key_padding_mask, (n, length, keys), call.query.dtype)
    device = call.query.device  # a capture may keep what went in on another device than the weights
    mask, factor = (None if tensor is None else tensor.to(device) for tensor in (mask, _factor(run, record)))
    return Ingredients(call, mask, factor)


def call_of(run: Run, layer: int) -> Call:
    """Return the layer that ran and its inputs, for the batch items that are in the record.

    Raises:
        ScenarioError: They were not kept, or not of all heads.
    """
    record, s = record_of(run, layer), run.scenario
    if record.call is not None:
        return _kept(record, record.call, layer)
    if s is None or run.inputs is None or s.stack != ATTENTION:
        message = f"layer {layer} can't be traced: what went into it was not kept, capture it with inside=True."
        raise ScenarioError(message, field="layer")
    resolve(s.device)  # a run file may come from another machine
    return Call(shared_module(s), **placed(replace(s, batch_first=True, unbatched=False), run.inputs))


def _kept(record: LayerAttention, call: Call, layer: int) -> Call:
    """Return a captured call with the recorded batch items alone."""
    kept, heads = record.weights.shape[1], call.module.num_heads
    if kept != heads:
        message = f"layer {layer} can't be traced: all {heads} heads must be kept for that, not {kept}."
        raise ScenarioError(message, field="layer")
    if record.items is None or len(call.query) == len(record.items):
        return call
    return with_inputs(call, lambda tensor: tensor[list(record.items or ())])


def with_inputs(call: Call, change: Callable[[Tensor], Tensor]) -> Call:
    """Return a call with changed inputs; those that were one tensor stay one."""
    made = {id(tensor): change(tensor) for tensor in {id(x): x for x in (call.query, call.key, call.value)}.values()}
    query, key, value = (made[id(tensor)] for tensor in (call.query, call.key, call.value))
    return replace(call, query=query, key=key, value=value)


def added(
    layer: nn.MultiheadAttention,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    sizes: tuple[int, int, int],
    dtype: torch.dtype,
) -> Tensor | None:
    """Return what masks add to the scores, as `nn.MultiheadAttention` merges them.

    Args:
        layer: Its extra keys are never hidden.
        attn_mask: [L, S] or [N * H, L, S], True hides, a float is added.
        key_padding_mask: [N, S], likewise.
        sizes: N, L and S without extra keys.
        dtype: Of the result, where no mask is a float.

    Returns:
        Broadcastable to [N, H, L, S] with the extra keys: 0, -inf or a bias; None where there is no mask.
    """
    merged = merged_mask(layer, *of_one_kind(attn_mask, key_padding_mask), False, sizes)
    if merged is None or merged.is_floating_point():
        return merged
    return torch.zeros(merged.shape, dtype=dtype, device=merged.device).masked_fill_(~merged, -torch.inf)


def _factor(run: Run, record: LayerAttention) -> Tensor | None:
    """Return what dropout drew: drawn again with the Scenario's seed, or read off the zeros of recorded weights.

    A capture's draw cannot be repeated, since the model draws other numbers before it. The zeros of the weights are
    those of dropout or of the softmax itself, where the factor makes no difference.
    """
    if not record.dropout:
        return None
    shape, dtype, device = record.weights.shape, record.weights.dtype, record.weights.device
    if record.call is None and run.scenario is not None:
        with seeded(run.scenario.seed, str(device)):
            return F.dropout(torch.ones(shape, dtype=dtype, device=device), record.dropout)
    kept = (record.weights != 0).to(dtype)
    return kept / (1 - record.dropout) if record.dropout < 1 else kept
