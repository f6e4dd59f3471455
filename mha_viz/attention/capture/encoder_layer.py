"""`nn.TransformerEncoderLayer` on its fast path, where it computes everything itself and calls no attention module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.capture import nested
from mha_viz.attention.capture.frame import Frame
from mha_viz.attention.capture.multihead import Heard, Reading, difference, rounding
from mha_viz.attention.capture.projection import Projection
from mha_viz.attention.capture.watch import unwatched
from mha_viz.attention.records import Passed


def heard(name: str, frame: Frame, arguments: dict[str, Any], output: Tensor) -> Heard:
    """Return the attention that a layer must have computed, from its input.

    Args:
        name: Of its attention module.
        frame: Its call.
        arguments: What it was given, by name.
        output: What it returned.
    """
    layer, src = frame.module, arguments["src"]
    assert isinstance(layer, nn.TransformerEncoderLayer)
    with unwatched(), torch.no_grad():
        x = nested.padded(src.detach(), frame.length)
        real = nested.padded(output.detach(), frame.length)
        behind = nested.padding(src, x.shape[1]) if src.is_nested else None
        attended = _normalised(layer.norm1, x) if layer.norm_first else x
    padding = arguments["src_key_padding_mask"] if behind is None else behind
    given = dict.fromkeys(("query", "key", "value"), attended)
    masks = {"attn_mask": arguments["src_mask"], "key_padding_mask": padding}
    call = Projection.of_module(layer.self_attn, given | masks)
    passed = frame.masks or Passed("mha", arguments["src_mask"], None)

    def change(attention: Tensor) -> float:
        with unwatched(), torch.no_grad():
            made = _finished(layer, x, attention)
        shown = slice(None) if behind is None else ~behind
        return difference(made[shown], real[shown], nan_is_alike=False)

    return Heard(name, call, passed, None, change, rounding(real), readings=_as_bools(call))


def _as_bools(call: Projection) -> tuple[Reading, ...]:
    """Return the masks as the fast path reads floats: every number but 0 hides."""
    masks = (call.masks.attn_mask, call.masks.key_padding_mask)
    if not any(mask is not None and mask.is_floating_point() for mask in masks):
        return ()
    bools = [None if mask is None else mask != 0 for mask in masks]
    why = "hid every key for which the float mask holds a number other than 0, as torch's fast path does"
    return (Reading(call.masked(*bools), why),)


def _finished(layer: nn.TransformerEncoderLayer, x: Tensor, attention: Tensor) -> Tensor:
    """Return the layer's output for the attention's, without calling modules that somebody listens to."""
    if layer.norm_first:
        x = x + attention
        return x + _feed_forward(layer, _normalised(layer.norm2, x))
    x = _normalised(layer.norm1, x + attention)
    return _normalised(layer.norm2, x + _feed_forward(layer, x))


def _feed_forward(layer: nn.TransformerEncoderLayer, x: Tensor) -> Tensor:
    first, second = layer.linear1, layer.linear2
    return F.linear(layer.activation(F.linear(x, first.weight, first.bias)), second.weight, second.bias)


def _normalised(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
