"""The check itself: a case goes through every rule and comes out as a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mha_viz import masks
from mha_viz.doctor.case import Case
from mha_viz.doctor.findings import SEVERITIES, Finding, Report
from mha_viz.doctor.registry import RULES
from mha_viz.errors import MaskError
from mha_viz.masks.base import Mask
from mha_viz.masks.encode import Api, read


def check(
    attn_mask: Tensor | np.ndarray[Any, Any] | None = None,
    key_padding_mask: Tensor | np.ndarray[Any, Any] | None = None,
    *,
    num_heads: int | None = None,
    query_len: int | None = None,
    key_len: int | None = None,
    batch_size: int | None = None,
    intent: str | Mask | None = None,
    is_causal: bool = False,
    api: Api = "mha",
    dtype: torch.dtype = torch.float32,
    query_shape: tuple[int, ...] | None = None,
    batch_first: bool | None = None,
    weights: Tensor | None = None,
    average_attn_weights: bool | None = None,
    dropout: float = 0.0,
    training: bool = False,
    add_bias_kv: bool = False,
    add_zero_attn: bool = False,
    module: nn.MultiheadAttention | None = None,
) -> Report:
    """Say what is wrong with the masks of a call, as they would be passed to torch.

    Args:
        attn_mask: Of any shape and dtype.
        key_padding_mask: Of any shape and dtype.
        num_heads: H; needed to read masks of shape (N * H, L, S).
        query_len: L, read off `attn_mask` if None.
        key_len: S, read off the masks if None.
        batch_size: N, read off the masks if None.
        intent: What each query should be able to see, as a mask or its text, such as `causal & window(8)`. Where it
            does not mention `b`, a padding mask may hide more.
        is_causal: The argument of that name.
        api: "mha" for `nn.MultiheadAttention` and layers built on it, "sdpa" for `F.scaled_dot_product_attention`.
        dtype: Of the query.
        query_shape: Shape of the query tensor as it is passed, to find a wrong `batch_first`.
        batch_first: As the module was built.
        weights: [N, H, L, S] or averaged [N, L, S], as the call returned them: makes the evidence exact.
        average_attn_weights: As passed to the call.
        dropout: The module's dropout probability.
        training: Whether the module is in training mode.
        add_bias_kv: As the module was built.
        add_zero_attn: As the module was built.
        module: Where the heads, the dtype and the last six settings are read off instead.

    Returns:
        A report; `ok` is True where there is no error and no warning, and printing it says all.

    Raises:
        MaskError: Neither a mask nor `query_shape` nor is_causal=True is given, a mask is empty or has floats of 8 bits
            or less, the intent can't be read or does not fit the sizes, or the api is unknown.
    """
    if attn_mask is None and key_padding_mask is None and query_shape is None and not is_causal:
        raise MaskError("check needs attn_mask, key_padding_mask, query_shape or is_causal=True, got none of them")
    if api not in ("mha", "sdpa"):
        raise MaskError(f"api must be 'mha' or 'sdpa', got {api!r}")
    case = Case(
        attn_mask=None if attn_mask is None else read("attn_mask", attn_mask),
        key_padding_mask=None if key_padding_mask is None else read("key_padding_mask", key_padding_mask),
        num_heads=num_heads,
        query_len=query_len,
        key_len=key_len,
        batch_size=batch_size,
        intent=None if intent is None else masks.mask(intent),
        is_causal=is_causal,
        api=api,
        dtype=dtype,
        query_shape=None if query_shape is None else tuple(query_shape),
        batch_first=batch_first,
        weights=weights,
        average_attn_weights=average_attn_weights,
        dropout=dropout,
        training=training,
        add_bias_kv=add_bias_kv,
        add_zero_attn=add_zero_attn,
    )
    return examine(case if module is None else case.but(**_facts(module)))


def examine(case: Case) -> Report:
    """Return the report on a case: the findings of every rule, errors first, without those that others explain."""
    found = {name: list(rule.findings(case)) for name, rule in RULES.items()}
    kept: list[Finding] = []
    for name, findings in found.items():
        causes = [cause for other in RULES[name].explained_by for cause in found.get(other, [])]
        # A guess does not explain away what is certain.
        kept += [finding for finding in findings if not any(_rank(cause) <= _rank(finding) for cause in causes)]
    return Report(tuple(sorted(kept, key=_rank)))


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def repaired(case: Case, rule: str) -> Case:
    """Return the case as it is after the fix of one rule, which does the same as the finding's `fix` code.

    Args:
        case: In which the rule finds something; another comes back as it is.
        rule: Its id.

    Raises:
        MaskError: There is no such rule, or no change of the masks is its remedy.
    """
    if rule not in RULES:
        raise MaskError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    repair = RULES[rule].repair
    if repair is None:
        raise MaskError(f"the rule {rule} has no repair: its finding says what to do")
    return repair(case) if any(RULES[rule].diagnose(case)) else case


def _facts(module: nn.MultiheadAttention) -> dict[str, Any]:
    return {
        "num_heads": module.num_heads,
        "dtype": module.out_proj.weight.dtype,
        "batch_first": module.batch_first,
        "dropout": module.dropout,
        "training": module.training,
        "add_bias_kv": module.bias_k is not None,
        "add_zero_attn": module.add_zero_attn,
    }
