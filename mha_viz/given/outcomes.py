"""What comes of a brought mask: the layer's run, what its outputs depend on, and what every execution path does."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mha_viz.attention import sdpa
from mha_viz.attention.forward import of_one_kind, run_given
from mha_viz.attention.forward import run as run_as_set
from mha_viz.attention.layer import arguments, shared_module
from mha_viz.attention.path_table import PathTable
from mha_viz.attention.paths import compare_paths
from mha_viz.attention.reach import reach
from mha_viz.attention.reach_check import Comparison, compare_reach
from mha_viz.attention.runs import Run
from mha_viz.doctor import Case
from mha_viz.errors import InputError
from mha_viz.given.cases import intent
from mha_viz.inputs.assemble import Inputs, build, sizes
from mha_viz.masks import encode
from mha_viz.scenario import Scenario


def run(s: Scenario, of: Case) -> Run:
    """Run the Scenario's layer on the masks of a case; errors are those of `run_given`.

    Where the hint is_causal stands without a mask, the call is that of eval mode and no_grad, the only one that torch
    lets pass; where the layer reads the batch as the sequence, its run has the shapes that come of it.
    """
    average = bool(of.average_attn_weights)
    changed = replace(s, training=of.training, dropout=of.dropout, average_attn_weights=average)
    given = (of.attn_mask, of.key_padding_mask)
    if of.api == "mha" and of.batch_first is False and s.batch_first:
        return run_given(replace(changed, batch_first=False), *given, inputs=_misread(build(s)))
    return run_given(changed, *given, is_causal=of.is_causal, api=of.api, fast=_hint_alone(of))


def _hint_alone(of: Case) -> bool:
    """Say whether the hint is_causal stands without a mask in eval mode, where only the fast path takes it."""
    return of.is_causal and of.attn_mask is None and not of.training


def intended(s: Scenario, of: Case) -> Run:
    """Run the Scenario's layer under the masks that a case intends; errors are those of `run_given`."""
    assert of.intent is not None
    if of.intent == intent(s):
        return run_as_set(s)
    size = sizes(s)
    mask = encode.attn_mask(
        of.intent,
        query_len=size.query_len,
        key_len=size.key_len,
        batch_size=size.batch_size,
        num_heads=s.num_heads,
    )
    return run_given(s, mask)


def _misread(inputs: Inputs) -> Inputs:
    """Return the inputs as a layer reads them whose batch_first is not what they were made for."""
    turned = {id(t): t.transpose(0, 1) for t in (inputs.query, inputs.key, inputs.value)}
    return Inputs.of(*(turned[id(t)] for t in (inputs.query, inputs.key, inputs.value)))


def _masks(s: Scenario, of: Case) -> tuple[Tensor | None, Tensor | None]:
    """Return the masks of a case on the Scenario's device."""
    return of_one_kind(*(None if m is None else m.to(s.device) for m in (of.attn_mask, of.key_padding_mask)))


def reach_under(s: Scenario, of: Case) -> tuple[Tensor, Comparison]:
    """Return what each output depends on under the masks of a case, [N, L, S], and the same against the intent.

    Each key is replaced in turn, and every output compared with that of the unchanged call.

    Raises:
        InputError: torch refuses the masks.
    """
    layer, call = shared_module(s), arguments(s, build(s))
    query, key, value = (call[name] for name in ("query", "key", "value"))

    def function(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> Tensor:
        return sdpa.forward(layer, query, key, value, attn_mask, is_causal=of.is_causal)[0]

    try:
        if of.api == "sdpa":
            found = reach(function, query, key, value, _masks(s, of)[0], perturb="key", per_item=True)
        else:
            attn_mask, padding = _masks(s, of)
            given = (padding, True, attn_mask, True, of.is_causal)  # True: need_weights, average_attn_weights
            with torch.set_grad_enabled(not _hint_alone(of)):
                found = reach(layer, query, key, value, *given, perturb="key", per_item=True)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"torch refused the call: {str(error).splitlines()[0]}") from error
    assert of.intent is not None
    n, length, keys = found.shape
    may = of.intent.allowed(length, keys, batch_size=n, num_heads=s.num_heads)
    may = may.expand(n, s.num_heads, length, keys).any(1)
    return found, compare_reach(found, may, own=key is query)


def paths_under(s: Scenario, of: Case) -> PathTable:
    """Return what every execution path of the layer makes of the masks of a case; the case's api is "mha"."""
    call = arguments(s, build(s))
    attn_mask, padding = _masks(s, of)
    return compare_paths(
        shared_module(s),
        call["query"],
        call["key"],
        call["value"],
        attn_mask=attn_mask,
        key_padding_mask=padding,
        is_causal=of.is_causal,
    )
