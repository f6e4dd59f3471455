"""The doctor over a whole run: the masks of every layer, as they were passed."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import torch

from mha_viz.attention.records import LayerAttention, Passed
from mha_viz.attention.runs import Run
from mha_viz.doctor.findings import SEVERITIES, Finding, Report
from mha_viz.doctor.report import check

# Names of layers that a finding lists before it counts the rest.
NAMED = 3


def check_run(run: Run) -> Report:
    """Say what is wrong with the masks that the layers of a run were given.

    Findings that several layers share come once, with their names in `layer` and the first one's evidence.

    Args:
        run: Of a Scenario, a capture or a file.

    Returns:
        A report, errors first; empty where no layer has a mask.

    Raises:
        MaskError: A mask has no cells.
        CapacityError: The weights are too many to be held.
    """
    found: dict[Finding, list[tuple[str, Finding]]] = {}
    for layer in run.layers:
        for finding in _checked(layer):
            found.setdefault(replace(finding, evidence=""), []).append((layer.name, finding))
    merged = [replace(same[0][1], layer=_named([name for name, _ in same])) for same in found.values()]
    return Report(tuple(sorted(merged, key=lambda finding: SEVERITIES.index(finding.severity))))


def _checked(layer: LayerAttention) -> tuple[Finding, ...]:
    weights, passed = layer.held, _passed(layer)
    if passed.attn_mask is None and passed.key_padding_mask is None and not passed.is_causal:
        return ()
    n, h, length, keys = layer.shape
    known = passed.api == "mha" or (layer.heads is None and layer.items is None)
    floats = [m.dtype for m in (passed.attn_mask, passed.key_padding_mask) if m is not None and m.is_floating_point()]
    return check(
        passed.attn_mask,
        passed.key_padding_mask,
        num_heads=h if known else None,
        query_len=length,
        key_len=keys - len(layer.extra_keys),
        batch_size=n if known else None,
        is_causal=passed.is_causal,
        api=passed.api,
        # The call ran, so float masks together had the type that it needed, whatever autocast made of the weights.
        dtype=reduce(torch.promote_types, floats) if floats else weights.dtype,
        weights=weights if known else None,
        dropout=layer.dropout,
        training=layer.dropout > 0,
        add_bias_kv="bias_k" in layer.extra_keys,
        add_zero_attn="zero" in layer.extra_keys,
    ).findings


def _passed(layer: LayerAttention) -> Passed:
    """Return the masks to check: where a part of heads or items was kept, that part of a mask with cells for each."""
    passed = layer.passed or Passed("mha", layer.attn_mask, layer.key_padding_mask)
    mask, whole = passed.attn_mask, layer.heads is None and layer.items is None
    if passed.api == "mha" and passed.key_padding_mask is not None and passed.key_padding_mask.dim() == 1:
        passed = replace(passed, key_padding_mask=layer.key_padding_mask)  # (S,) of a call without a batch
    if whole or passed.api != "mha":
        return passed
    own = layer.attn_mask if mask is not None and mask.dim() == 3 else mask
    return replace(passed, attn_mask=own, key_padding_mask=layer.key_padding_mask)


def _named(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown
