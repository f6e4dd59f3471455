"""The real forward: the call of a Scenario's layer becomes a Run.

Weights always come from the explicit path, because the fused paths can silently do something else. That path is
chosen without any global switch: the module's fast path is closed to calls that record gradients, so the forward
runs with gradients enabled and its results are detached.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.attention import long, memory, sdpa, stack
from mha_viz.attention.device import resolve, synchronise
from mha_viz.attention.difference import largest_difference
from mha_viz.attention.layer import arguments, extra_keys, placed, seeded, shared_module
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.timed import timed
from mha_viz.errors import InputError
from mha_viz.inputs.assemble import Inputs, Sizes, build, sizes
from mha_viz.masks import encode
from mha_viz.scenario import ATTENTION, Scenario


def run(s: Scenario, inputs: Inputs | None = None) -> Run:
    """Run a real `nn.MultiheadAttention`, or a stack of layers around it, and return everything there is to see of it.

    Args:
        s: The settings.
        inputs: Tensors of one's own instead of the Scenario's (see `Inputs.of`).

    Returns:
        A Run with one layer, or of a stack one for each attention call, in call order: weights [N, H, L, S] and
        output [N, L, E] on the Scenario's device. Where a single layer's weights would need more memory than the
        limit, they are streamed: `window`, `row`, `overview` and `stats` compute what they are asked for.

    Raises:
        DeviceError: The device is not there, or the module can't run in this dtype on it.
        CapacityError: It would need more memory than the limit, even streamed; nothing was allocated.
        InputError: The inputs do not fit the layer.
    """
    resolve(s.device)
    size = sizes(s) if inputs is None else _sizes_of(s, inputs)
    if memory.estimate(s, size) > memory.limit_bytes() and long.fits(s, size):
        return long.run(s, inputs)
    memory.check(s, size)
    inputs = inputs or build(s)
    if s.stack != ATTENTION:
        return stack.run(s, inputs)
    layer = shared_module(s)
    call = arguments(s, inputs)
    return _recorded(s, inputs, layer, call)


def run_given(
    s: Scenario,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    api: encode.Api = "mha",
    fast: bool = False,
    inputs: Inputs | None = None,
) -> Run:
    """Run the layer of a Scenario with masks as they are, right or wrong, instead of the Scenario's own.

    Args:
        s: The settings; its mask, score bias, padding and is_causal are not used.
        attn_mask: Handed over as it is, the api decides what True means in it; but see `of_one_kind`.
        key_padding_mask: Likewise; "sdpa" has no such argument.
        is_causal: The argument of that name.
        api: "mha" for the layer as it is, "sdpa" for `F.scaled_dot_product_attention` between its projections.
        fast: Call the layer as under `torch.no_grad()`, where in eval mode it may take its fast path.
        inputs: Tensors of one's own instead of the Scenario's.

    Returns:
        A Run as that of `run`.

    Raises:
        InputError: The masks are refused; the sentence quotes torch.
        DeviceError: As `run`.
        CapacityError: As `run`.
    """
    resolve(s.device)
    memory.check(s, sizes(s) if inputs is None else _sizes_of(s, inputs))
    inputs = inputs or build(s)
    attn_mask, key_padding_mask = (None if m is None else m.to(s.device) for m in (attn_mask, key_padding_mask))
    attn_mask, key_padding_mask = of_one_kind(attn_mask, key_padding_mask)
    call = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, "is_causal": is_causal}
    if api == "sdpa":
        return _through_function(s, inputs, attn_mask, is_causal)
    return _recorded(s, inputs, shared_module(s), {**placed(s, inputs), **call}, fast)


def of_one_kind(attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return two masks of the module both as floats if one is bool and the other is not, so that torch does not warn.

    It is what torch does to them itself: True becomes -inf and False 0.
    """
    if attn_mask is None or key_padding_mask is None:
        return attn_mask, key_padding_mask
    kinds = (attn_mask.dtype, key_padding_mask.dtype)
    floating = next((kind for kind in kinds if kind.is_floating_point), None)
    if floating is None or torch.bool not in kinds:
        return attn_mask, key_padding_mask

    def converted(mask: Tensor) -> Tensor:
        return (
            torch.zeros_like(mask, dtype=floating).masked_fill_(mask, -torch.inf) if mask.dtype == torch.bool else mask
        )

    return converted(attn_mask), converted(key_padding_mask)


def _through_function(s: Scenario, inputs: Inputs, attn_mask: Tensor | None, is_causal: bool) -> Run:
    """Run the layer with the function's attention; its masks are recorded as the module would be given them."""
    query, key, value = placed(replace(s, batch_first=True, unbatched=False), inputs).values()
    start = time.perf_counter()
    try:
        output, weights = sdpa.forward(shared_module(s), query, key, value, attn_mask, is_causal=is_causal)
    except RuntimeError as error:
        raise InputError(f"F.scaled_dot_product_attention refused the call: {str(error).splitlines()[0]}") from error
    synchronise(s.device)
    seconds = time.perf_counter() - start
    hidden = sdpa.as_passed_to_module(attn_mask, weights, is_causal=is_causal)
    record = LayerAttention("attention", weights, output, weights, 0.0, hidden, None)
    return Run((record,), inputs, s, s.device, s.dtype, seconds)


def _recorded(
    s: Scenario, inputs: Inputs, layer: nn.MultiheadAttention, call: dict[str, Any], fast: bool = False
) -> Run:
    """Call the layer for its weights, and once more as the Scenario asks if that is something else."""
    (explicit_output, weights), seconds, peak = timed(
        s, "nn.MultiheadAttention", lambda: _forward(s, layer, call, need_weights=True, average=False, fast=fast)
    )
    output, returned = explicit_output, weights
    if not s.need_weights or s.average_attn_weights:
        output, returned = _forward(s, layer, call, s.need_weights, s.average_attn_weights)
    record = LayerAttention(
        name="self_attn" if inputs.key is inputs.query else "cross_attn",
        weights=weights.unsqueeze(0) if s.unbatched else weights,
        output=_as_batch(output, s),
        returned=returned,
        output_change=_change(output, explicit_output),
        attn_mask=call["attn_mask"],
        key_padding_mask=_padding_rows(call["key_padding_mask"]),
        extra_keys=extra_keys(s),
        dropout=s.dropout if s.training else 0.0,
    )
    return Run((record,), inputs, s, s.device, s.dtype, seconds, peak)


def _forward(
    s: Scenario,
    layer: nn.MultiheadAttention,
    call: dict[str, Any],
    need_weights: bool,
    average: bool,
    fast: bool = False,
) -> tuple[Tensor, Any]:
    """Call the module; dropout draws the same numbers for the same seed whatever ran before.

    The fast path is closed to calls that record gradients; `fast` leaves it open.
    """
    random = seeded(s.seed, s.device) if s.training and s.dropout else nullcontext()
    with torch.set_grad_enabled(not fast), random:
        output, weights = layer(**call, need_weights=need_weights, average_attn_weights=average)
    return output.detach(), None if weights is None else weights.detach()


def _change(output: Tensor, explicit: Tensor) -> float:
    return 0.0 if output is explicit else largest_difference(output, explicit)


def _as_batch(output: Tensor, s: Scenario) -> Tensor:
    if s.unbatched:
        return output.unsqueeze(0)
    return output if s.batch_first else output.transpose(0, 1)


def _padding_rows(mask: Tensor | None) -> Tensor | None:
    return mask if mask is None or mask.dim() == 2 else mask.unsqueeze(0)


def _sizes_of(s: Scenario, inputs: Inputs) -> Sizes:
    expected = {"query": s.embed_dim, "key": s.kdim or s.embed_dim, "value": s.vdim or s.embed_dim}
    for role, dim in expected.items():
        tensor: Tensor = getattr(inputs, role)
        if tensor.shape[2] != dim:
            raise InputError(f"{role} must have vectors of size {dim}, not {tensor.shape[2]}.")
    if s.unbatched and len(inputs.query) != 1:
        raise InputError(f"unbatched inputs are of one item, but these are of {len(inputs.query)}.")
    return Sizes(inputs.query.shape[0], inputs.query.shape[1], inputs.key.shape[1])
