"""What one weight is made of: q·k, the scale, the mask, the softmax's denominator.

Only the chosen query's row is computed, from the layer's own parameters, so a click costs next to nothing whatever
the length. The row's weights agree with the module's to rounding (tests hold them to 1e-5 in float32).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.layer import shared_module
from mha_viz.attention.records import Run
from mha_viz.errors import ScenarioError


@dataclass(frozen=True, eq=False)
class Row:
    """One query's way to its weights, for one head of one batch item; every tensor is float64 [S] on the CPU.

    Attributes:
        item: Batch item.
        head: Head.
        query: Query index.
        dots: q·k for each key.
        scale: 1 / sqrt(D), by which the dots are multiplied.
        added: What the masks and the score bias add: 0, -inf or the bias.
        scores: dots · scale + added.
        exponentials: exp(score - largest score), the softmax's numerators.
        denominator: Their sum.
        weights: exponentials / denominator, before dropout.
        returned: The weights that the module returned, after dropout.
        dropped: Whether dropout was active, so that `returned` differs from `weights`.
    """

    item: int
    head: int
    query: int
    dots: Tensor
    scale: float
    added: Tensor
    scores: Tensor
    exponentials: Tensor
    denominator: float
    weights: Tensor
    returned: Tensor
    dropped: bool


def row(run: Run, *, item: int = 0, head: int = 0, query: int = 0) -> Row:
    """Recompute one row of weights step by step.

    Args:
        run: A run of a Scenario.
        item: Batch item, below N.
        head: Head, below H.
        query: Query index, below L.

    Raises:
        ScenarioError: An index is out of bounds, or the run did not come from a Scenario.
    """
    layer, s = run.layers[0], run.scenario
    if s is None:
        raise ScenarioError("The row can be recomputed only for a run of a Scenario, but this run has none.")
    n, h, length, keys = layer.weights.shape
    for name, index, end in (("item", item, n), ("head", head, h), ("query", query, length)):
        if not 0 <= index < end:
            raise ScenarioError(f"{name} must be from 0 to {end - 1}, not {index}.")
    mha = shared_module(s)
    with torch.no_grad():
        q, k = _projected(mha, run, item, head, query)  # [D], [S, D]
    dots = k @ q
    scale = 1.0 / math.sqrt(q.numel())
    added = _added(run, item, head, query, keys)
    scores = dots * scale + added
    exponentials = (scores - scores.max()).exp()
    denominator = float(exponentials.sum())
    returned = layer.weights[item, head, query].double().cpu()
    weights = exponentials / denominator
    return Row(
        item, head, query, dots, scale, added, scores, exponentials, denominator, weights, returned, layer.dropout > 0
    )


def _projected(mha: nn.MultiheadAttention, run: Run, item: int, head: int, query: int) -> tuple[Tensor, Tensor]:
    """Return this head's query vector [D] and key vectors [S, D], extra keys included, in float64."""
    dim = mha.head_dim
    own = slice(head * dim, (head + 1) * dim)
    packed = mha._qkv_same_embed_dim
    wq, wk = mha.in_proj_weight.chunk(3)[:2] if packed else (mha.q_proj_weight, mha.k_proj_weight)
    bq, bk, _ = mha.in_proj_bias.chunk(3) if mha.in_proj_bias is not None else (None, None, None)
    dtype, device = wq.dtype, wq.device

    def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        bias = None if bias is None else bias[own].double()
        return F.linear(x.to(device=device, dtype=dtype).double(), weight[own].double(), bias).cpu()

    q = project(run.inputs.query[item, query], wq, bq)
    k = project(run.inputs.key[item], wk, bk)
    extra = []
    if mha.bias_k is not None:
        extra.append(mha.bias_k[0, 0, own].double().cpu()[None])
    if mha.add_zero_attn:
        extra.append(torch.zeros(1, dim, dtype=torch.float64))
    return q, torch.cat([k, *extra])


def _added(run: Run, item: int, head: int, query: int, keys: int) -> Tensor:
    """Return what the masks as passed add to this row's scores, [S] in float64."""
    layer = run.layers[0]
    added = torch.zeros(keys, dtype=torch.float64)
    heads = layer.weights.shape[1]
    for mask, part in ((layer.attn_mask, "row"), (layer.key_padding_mask, "keys")):
        if mask is None:
            continue
        if part == "keys":
            line = mask[item]
        else:
            line = mask[query] if mask.dim() == 2 else mask[item * heads + head, query]
        line = line.cpu()
        values = torch.zeros(line.shape, dtype=torch.float64)
        values = values.masked_fill(line, -math.inf) if line.dtype == torch.bool else line.double()
        added[: line.numel()] += values
    return added
