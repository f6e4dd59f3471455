"""How many bytes runs and figures hold, for the caches' budgets."""

from __future__ import annotations

from torch import Tensor

from mha_viz.attention import memory
from mha_viz.attention.runs import Run
from mha_viz.figures.grammar import Spec
from mha_viz.inputs.assemble import Sizes


def run_bytes(run: Run) -> int:
    """Count the bytes of a run's tensors, the average over heads included; what is shared counts once.

    A streamed run counts with what it will hold once it has been looked at.
    """
    if run.layers[0].streamed is not None and run.scenario is not None:
        n, _, length, keys = run.layers[0].shape
        return memory.streamed_estimate(run.scenario, Sizes(n, length, keys))
    held: list[Tensor | None] = [norms for _, norms in run.norms]
    if run.inputs is not None:
        held += [run.inputs.query, run.inputs.key, run.inputs.value]
    for layer in run.layers:
        held += [layer.weights, layer.output, layer.attn_mask, layer.key_padding_mask]
        if layer.call is not None:
            held += [layer.call.query, layer.call.key, layer.call.value, *layer.call.module.parameters()]
    averages = sum(layer.weights.nbytes // max(1, layer.weights.shape[1]) for layer in run.layers)
    return averages + sum({id(tensor): tensor.nbytes for tensor in held if tensor is not None}.values())


def figure_bytes(spec: Spec) -> int:
    """Count the bytes of a figure's cells."""
    return sum(trace["z"].nbytes for trace in spec["data"] if "z" in trace)
