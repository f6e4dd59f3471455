"""What one weight is made of: q·k, the scale, the mask, the softmax's denominator.

Only the chosen query's row is computed, from the layer's own parameters, so a click costs next to nothing whatever
the length. The row's weights agree with the module's to rounding (tests hold them to 1e-5 in float32).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mha_viz.attention.ingredients import added, call_of
from mha_viz.attention.projections import projections
from mha_viz.attention.records import Call, LayerAttention
from mha_viz.attention.runs import Run, record_of
from mha_viz.attention.windows import check_index


@dataclass(frozen=True, eq=False)
class Row:
    """One query's way to its weights, for one head of one batch item; every tensor is float64 on the CPU.

    Attributes:
        item: Batch item.
        head: Head.
        query: Query index.
        q: The query's vector, [D].
        keys: The keys' vectors, [S, D].
        dots: q·k for each key, [S] as all that follow.
        scale: 1 / sqrt(D), by which the dots are multiplied, divided by the temperature.
        added: What the masks and the score bias add: 0, -inf or the bias.
        scores: dots · scale + added.
        largest: The largest score.
        exponentials: exp(score - largest score), the softmax's numerators.
        denominator: Their sum.
        weights: exponentials / denominator, before dropout.
        returned: The weights that the module returned, after dropout.
        dropped: Whether dropout was active, so that `returned` differs from `weights`.
    """

    item: int
    head: int
    query: int
    q: Tensor
    keys: Tensor
    dots: Tensor
    scale: float
    added: Tensor
    scores: Tensor
    largest: float
    exponentials: Tensor
    denominator: float
    weights: Tensor
    returned: Tensor
    dropped: bool


@dataclass(frozen=True, eq=False)
class Cell:
    """One weight with every number that it is made of; vectors are float64 [D] on the CPU.

    Attributes:
        q: The query's vector.
        k: The key's.
        v: The value's, of which the output of the head gets this weight's share.
        dot: q·k.
        scale: What it is multiplied by: 1 / (sqrt(D) · temperature).
        temperature: 1 unless it was changed.
        added: By the masks and the score bias.
        score: dot · scale + added.
        largest: The largest score of the row.
        exponential: exp(score - largest).
        denominator: The sum of the row's exponentials.
        softmax: exponential / denominator.
        factor: What dropout multiplies it by, None where it is not active.
        weight: softmax · factor.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    dot: float
    scale: float
    temperature: float
    added: float
    score: float
    largest: float
    exponential: float
    denominator: float
    softmax: float
    factor: float | None
    weight: float


@dataclass(frozen=True)
class Place:
    """Which row: batch item, head and query."""

    item: int
    head: int
    query: int

    def check(self, weights: Tensor) -> None:
        """Raise `ScenarioError` if there is no such row in weights [N, H, L, S]."""
        for name, end in zip(("item", "head", "query"), weights.shape, strict=False):
            check_index(name, getattr(self, name), end)


def row(run: Run, *, layer: int = 0, item: int = 0, head: int = 0, query: int = 0) -> Row:
    """Recompute one row of weights step by step.

    Args:
        run: A run of a Scenario, or one whose layer has its `call`.
        layer: Index into `run.layers`.
        item: Batch item, below N.
        head: Head, below H.
        query: Query index, below L.

    Raises:
        ScenarioError: An index is out of bounds, or what went into the layer was not kept.
    """
    record, call = record_of(run, layer, item=item, head=head, query=query), call_of(run, layer)
    place = Place(item, head, query)
    with torch.no_grad():
        q, k = _projected(call, place)  # [D], [S, D]
    returned = record.held[item, head, query]
    return worked_out(place, q, k, _added(record, call, place), returned, dropped=record.dropout > 0)


def worked_out(
    place: Place,
    q: Tensor,
    keys: Tensor,
    added: Tensor | None,
    returned: Tensor,
    *,
    dropped: bool = False,
    temperature: float = 1.0,
) -> Row:
    """Return the arithmetic of one row from its vectors.

    Args:
        place: Where it stands.
        q: [D].
        keys: [S, D].
        added: By the masks, [S]; None is nothing.
        returned: The module's weights, [S].
        dropped: Whether dropout was active.
        temperature: What the scores are divided by beside sqrt(D).
    """
    q, keys, returned = (tensor.double().cpu() for tensor in (q, keys, returned))
    dots = keys @ q
    added = torch.zeros_like(dots) if added is None else added.double().cpu()
    scale = 1.0 / (math.sqrt(len(q)) * temperature)
    scores = dots * scale + added
    largest = scores.max()
    exponentials = (scores - largest).exp()
    total = exponentials.sum()
    return Row(
        *(place.item, place.head, place.query, q, keys, dots, scale, added, scores, float(largest)),
        *(exponentials, float(total), exponentials / total, returned, dropped),
    )


def cell_of(row: Row, key: int, v: Tensor, *, factor: float | None = None, temperature: float = 1.0) -> Cell:
    """Return the arithmetic of one weight of a row.

    Args:
        row: The row.
        key: Key index, below S.
        v: The key's value vector, [D].
        factor: What dropout multiplies the softmax by, None where it is not active.
        temperature: That of the row.
    """
    softmax = float(row.weights[key])
    return Cell(
        q=row.q,
        k=row.keys[key],
        v=v.double().cpu(),
        dot=float(row.dots[key]),
        scale=row.scale,
        temperature=temperature,
        added=float(row.added[key]),
        score=float(row.scores[key]),
        largest=row.largest,
        exponential=float(row.exponentials[key]),
        denominator=row.denominator,
        softmax=softmax,
        factor=factor,
        weight=softmax if factor is None else softmax * factor,
    )


def _projected(call: Call, place: Place) -> tuple[Tensor, Tensor]:
    """Return this head's query vector [D] and key vectors [S, D], extra keys included, in float64."""
    layer = call.module
    own = slice(place.head * layer.head_dim, (place.head + 1) * layer.head_dim)
    both = projections(layer)

    def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x.double(), weight[own].double(), None if bias is None else bias[own].double())

    q = project(call.query[place.item, place.query], *both["q"])
    k = project(call.key[place.item], *both["k"])
    if layer.bias_k is not None:
        k = torch.cat([k, layer.bias_k[0, :, own].double()])
    return q, F.pad(k, (0, 0, 0, int(layer.add_zero_attn)))


def _added(record: LayerAttention, call: Call, place: Place) -> Tensor | None:
    """Return what the masks add to this row's scores, [S], or None."""
    mask, padding = record.attn_mask, record.key_padding_mask
    if mask is not None:
        index = place.query if mask.dim() == 2 else (place.item * record.weights.shape[1] + place.head, place.query)
        mask = mask[index][None]
    if padding is not None:
        padding = padding[place.item][None]
    found = added(call.module, mask, padding, (1, 1, call.key.shape[1]), call.query.dtype)
    return None if found is None else found[0, 0, 0]
