"""A Scenario's layer as streamed attention."""

from __future__ import annotations

from dataclasses import replace

import torch

from mha_viz import masks
from mha_viz.attention.device import resolve
from mha_viz.attention.direct import projected
from mha_viz.attention.layer import placed, shared_module
from mha_viz.attention.streamed.weights import StreamedAttention
from mha_viz.errors import ScenarioError
from mha_viz.inputs.assemble import Inputs, build
from mha_viz.scenario import ATTENTION, Scenario


def streamed(s: Scenario, inputs: Inputs | None = None) -> StreamedAttention:
    """Return a Scenario's single layer without computing its weights.

    Its projections are the module's own; masks, score bias and padding are those that its call would be given.

    Args:
        s: The settings.
        inputs: Tensors of one's own instead of the Scenario's.

    Raises:
        ScenarioError: It is a stack of layers, or drops weights at random.
        DeviceError: The device is not there.
        InputError: The inputs cannot be read.
    """
    if s.stack != ATTENTION:
        message = f"a long sequence is shown for one layer, so stack must be 'attention', not {s.stack!r}."
        raise ScenarioError(message, field="stack")
    if s.training and s.dropout:
        message = (
            f"a long sequence is shown without dropout, but train mode drops {s.dropout:g} of the weights at random: "
            "set training=False or dropout=0."
        )
        raise ScenarioError(message, field="dropout")
    resolve(s.device)
    inputs = inputs or build(s)
    batch_first = placed(replace(s, batch_first=True, unbatched=False), inputs)
    with torch.no_grad():
        q, k, v = projected(shared_module(s), **batch_first)
    return StreamedAttention(
        q,
        k,
        v,
        mask=s.mask,
        bias=masks.score_bias(s.score_bias) if s.score_bias else None,
        key_lengths=inputs.key_lengths,
        extra_keys=s.add_bias_kv + s.add_zero_attn,
    )
