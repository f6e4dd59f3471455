"""What can be said of a run of several layers together: rollout, entropy, how alike heads are, the residual stream."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.attention.runs import Run, record_of
from mha_viz.attention.stats import head_stats
from mha_viz.attention.windows import check_index
from mha_viz.errors import ScenarioError

CROSS = re.compile(r"cross|multihead_attn|encoder_attn|encdec", re.IGNORECASE)
# Cells of all pairs of heads that are compared at most; of more, evenly spaced queries stand for all.
COMPARED = 2**27


@dataclass(frozen=True)
class Chain:
    """Self-attention layers that follow each other and are equally long.

    Attributes:
        title: What they are, such as `encoder self-attention`.
        layers: Their indices in `Run.layers`, in call order.
    """

    title: str
    layers: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Similarity:
    """How alike the heads of some layers are.

    Attributes:
        heads: (index in `Run.layers`, head) of each row and column.
        values: [len(heads), len(heads)] from 0 to 1; NaN where two heads have no row of numbers in common.
    """

    heads: tuple[tuple[int, int], ...]
    values: Tensor


@dataclass(frozen=True, eq=False)
class Norms:
    """The L2 norm of the residual stream at each place where it was read.

    Attributes:
        names: Of the places, in order.
        mean: [places], over the tokens of a batch item.
        low: [places], of the token where it is smallest.
        high: [places], of the token where it is largest.
    """

    names: tuple[str, ...]
    mean: Tensor
    low: Tensor
    high: Tensor


def chains(run: Run) -> tuple[Chain, ...]:
    """Return the self-attention layers of a run that a rollout can go through, one chain for each kind and length.

    Layers are of one kind if their names differ in numbers only. Cross-attention is left out, because its rows and
    columns are different tokens.
    """
    found: dict[tuple[str, int], list[int]] = {}
    for index, record in enumerate(run.layers):
        if _attends_to_itself(run, index):
            kind = re.sub(r"\d+", "*", record.name.split(" (call ")[0])
            found.setdefault((kind, record.weights.shape[2]), []).append(index)
    return tuple(Chain(_title(kind), tuple(layers)) for (kind, _), layers in found.items())


def _attends_to_itself(run: Run, index: int) -> bool:
    record = run.layers[index]
    if record.weights.shape[2] != record.weights.shape[3] or record.extra_keys:
        return False
    if record.call is not None:
        return record.call.key is record.call.query
    return not CROSS.search(record.name) and run.query_tokens(0, index) == run.key_tokens(0, index)


def _title(kind: str) -> str:
    half = next((half for half in ("decoder", "encoder") if half in kind.lower()), "")
    return f"{half} self-attention".strip()


def rollout(run: Run, item: int = 0, chain: int = 0) -> Tensor:
    """Return the attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928) after each layer of a chain.

    Each layer counts as half its weights, averaged over heads, and half the identity, for the residual connection;
    the rows are normalised and the layers multiplied. What the values and the feed-forward parts do is left out, so it
    says where attention could have carried something from, not what did.

    Args:
        run: The run.
        item: Batch item.
        chain: Index into `chains(run)`.

    Returns:
        [layers, L, L] float32 on the CPU: row i of the last is how input tokens are mixed in token i after all layers.
        A row is NaN where its own weights are, or where it attends to a token whose row is.

    Raises:
        ScenarioError: There is no such chain or item.
    """
    return torch.stack(list(_flows(run, item, _chain(run, chain).layers)))


def rollout_at(run: Run, layer: int, item: int = 0) -> Tensor:
    """Return the rollout [L, L] up to and with one layer; otherwise as `rollout`.

    Raises:
        ScenarioError: The layer is not one of a chain.
    """
    of = next((chain for chain in chains(run) if layer in chain.layers), None)
    if of is None:
        name = run.layers[layer].name
        raise ScenarioError(
            f"A rollout goes through self-attention alone, but {name} attends to other tokens: choose another layer.",
            field="layer",
        )
    *_, last = _flows(run, item, of.layers[: of.layers.index(layer) + 1])
    return last


def _chain(run: Run, chain: int) -> Chain:
    found = chains(run)
    if not found:
        raise ScenarioError("A rollout needs layers of self-attention, but this run has none.", field="layer")
    check_index("chain", chain, len(found))
    return found[chain]


def _flows(run: Run, item: int, layers: Sequence[int]) -> Iterator[Tensor]:
    """Yield the rollout after each layer; a NaN spreads to the rows that attend to it, and to no others."""
    flow: Tensor | None = None
    for index in layers:
        own = record_of(run, index, item=item).held[item].float().mean(0).cpu()  # [L, L]
        mixed = 0.5 * own + 0.5 * torch.eye(len(own))
        mixed = mixed / mixed.sum(-1, keepdim=True)
        if flow is None:
            flow = mixed
        else:
            lost = (mixed > 0).float() @ flow.isnan().any(-1).float() > 0  # [L]
            flow = (mixed @ flow.nan_to_num(nan=0.0)).masked_fill(lost[:, None], torch.nan)
        yield flow


def entropy(run: Run, item: int = 0) -> Tensor:
    """Return the mean entropy of each head's rows in bits, as `HeadStats.entropy`: 0 looks at one key, log2(S) at all.

    Returns:
        [layers, heads] float32 on the CPU; NaN where a layer has fewer heads than another, or a head no row of numbers.

    Raises:
        ScenarioError: `item` is out of bounds.
    """
    found = torch.full((len(run.layers), max(layer.weights.shape[1] for layer in run.layers)), torch.nan)
    for index in range(len(run.layers)):
        layer = record_of(run, index, item=item)
        numbers = torch.tensor([head.entropy for head in head_stats(layer, item)])
        known = ~layer.held[item].sum(-1).isnan().all(-1).cpu()  # [H]
        found[index, : len(numbers)] = torch.where(known, numbers, torch.nan)
    return found


def head_similarity(run: Run, item: int = 0, layer: int = 0) -> Similarity:
    """Return how alike the heads are of all layers whose weights have the shape [L, S] of one layer.

    It is 1 - JSD, the Jensen-Shannon divergence in bits between a query's weights in two heads, in the mean over
    queries: 1 where two heads attend alike, 0 where no key is attended to by both. Rows are distributions, and JSD is
    a distance made for these: it is bounded, symmetric and takes exact zeros, as masks leave them. A cosine of the
    flattened weights would be ruled by the few rows with large weights, such as a causal mask's first; here every query
    counts the same. (Clark et al. 2019, arXiv:1906.04341, compare heads by it too.)

    Weights that dropout scaled are made to sum to 1 again, and rows with NaN are left out. Of long sequences evenly
    spaced queries stand for all.

    Args:
        run: The run.
        item: Batch item.
        layer: Index into `run.layers`: which shape.

    Raises:
        ScenarioError: An index is out of bounds.
    """
    shape = record_of(run, layer, item=item).weights.shape[2:]
    alike = [i for i, record in enumerate(run.layers) if record.weights.shape[2:] == shape]
    heads = tuple((i, h) for i in alike for h in range(run.layers[i].weights.shape[1]))
    step = max(1, math.ceil(len(heads) ** 2 * shape.numel() / COMPARED))
    rows = torch.cat([record_of(run, i, item=item).held[item, :, ::step].float().cpu() for i in alike])
    rows = rows / rows.sum(-1, keepdim=True)  # [heads, queries, S]
    return Similarity(heads, 1.0 - _divergences(rows))


def _divergences(rows: Tensor) -> Tensor:
    """Return the mean JSD in bits of each pair of [heads, queries, S]: H((p + q) / 2) - (H(p) + H(q)) / 2."""
    bits = torch.special.entr(rows).sum(-1) / math.log(2.0)  # [heads, queries]
    found = torch.zeros(len(rows), len(rows))
    for head in range(len(rows)):
        both = torch.special.entr((rows[head] + rows[head:]) / 2).sum(-1) / math.log(2.0)
        apart = (both - (bits[head] + bits[head:]) / 2).clamp(0.0, 1.0).nanmean(-1)
        found[head, head:] = found[head:, head] = apart
    return found


def norms(run: Run, item: int = 0) -> Norms:
    """Return the norm of the residual stream through the depth of a run, over the tokens of one batch item.

    Raises:
        ScenarioError: The run holds no norms, or `item` is out of bounds.
    """
    if not run.norms:
        raise ScenarioError("Norms are read where layers of nn.Transformer* run, but this run has none of them.")
    check_index("item", item, min(len(values) for _, values in run.norms))
    tokens = [values[item].float().cpu() for _, values in run.norms]
    mean, low, high = (torch.stack([of(values) for values in tokens]) for of in (torch.mean, torch.amin, torch.amax))
    return Norms(tuple(name for name, _ in run.norms), mean, low, high)
