"""A long sequence: a Run whose weights are computed where they are looked at, and never all held."""

from __future__ import annotations

import torch

from mha_viz.attention import memory
from mha_viz.attention.layer import extra_keys
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.streamed import streamed
from mha_viz.inputs.assemble import Inputs, Sizes, build
from mha_viz.scenario import ATTENTION, Scenario


def fits(s: Scenario, size: Sizes) -> bool:
    """Return whether a Scenario can be streamed: one layer that drops nothing at random, within the memory limit."""
    alone = s.stack == ATTENTION and not (s.training and s.dropout)
    return alone and memory.streamed_estimate(s, size) <= memory.limit_bytes()


def run(s: Scenario, inputs: Inputs | None = None) -> Run:
    """Return the Run of a single layer with its weights streamed; nothing of size L × S is computed yet.

    Args:
        s: The settings; `fits` says whether they can be streamed.
        inputs: Tensors of one's own instead of the Scenario's.

    Raises:
        ScenarioError: It is a stack of layers, or drops weights at random.
        DeviceError: The device is not there.
        InputError: The inputs cannot be read.
    """
    inputs = inputs or build(s)
    weights = streamed(s, inputs)
    record = LayerAttention(
        name="self_attn" if inputs.key is inputs.query else "cross_attn",
        weights=torch.empty(weights.shape, dtype=getattr(torch, s.dtype), device="meta"),
        output=None,
        returned=None,
        output_change=0.0,
        attn_mask=None,
        key_padding_mask=None,
        extra_keys=extra_keys(s),
        streamed=weights,
    )
    return Run((record,), inputs, s, s.device, s.dtype, seconds=None)
