"""A test file that fails on a mask's bug and passes on its fix, and needs only torch and pytest.

It builds the masks as they were given, calls the real layer, and compares what it does with what is allowed.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from mha_viz.doctor import RULES, Case, Finding, Report, examine, repaired
from mha_viz.doctor.reading import Sizes
from mha_viz.errors import InputError, MaskError
from mha_viz.export import pytests_text as text
from mha_viz.masks.base import Mask

MAX_WRITTEN = 1_024
"""Most elements of a mask that is written as a list; a larger one is packed."""

MAX_PACKED_CHARACTERS = 2 * 2**20
"""Longest packed mask, in characters."""

_MOST_FIXES = 8
_INDICES = {"b": "torch.arange(N)[:, None, None, None]", "h": "torch.arange(H)[:, None, None]"}
_INDICES |= {"q": "torch.arange(L)[:, None]", "k": "torch.arange(S)"}


def pytest_for(case: Case, rule: str | None = None, fixed: bool = False) -> str:
    """Return the source of a test file for the bug in a case.

    What is allowed is the intent of the case, less the padding where the intent does not mention `b`; without an
    intent it is what the masks allow once they are fixed. All errors and warnings are fixed, one after the other.

    Args:
        case: Masks in which the doctor finds something.
        rule: Id of the rule to fix first; the first finding's if None.
        fixed: Whether the fix stands in the file as code, so that the tests pass, or as a comment, so that they fail.

    Raises:
        MaskError: Nothing is wrong, there is no such rule or it finds nothing, or no change of the call is its remedy.
        InputError: A mask is too large to be written into a file.
    """
    case = _batched(case)
    cure = _cure(case, rule)
    sizes = _sizes(case)
    parts = [
        "\n".join(_given(case, cure, fixed)),
        "\n".join(_allowed(case, cure, sizes)),
        _inputs(case, sizes),
        _attention(case),
        text.PLACES,
        text.TEST_WEIGHTS,
        text.TEST_PATHS if case.api == "mha" else text.TEST_ONE_MASK,
    ]
    body = "\n\n\n".join(part.strip("\n") for part in parts)
    return f"{_header(case, cure, sizes, body)}\n\n\n{body}\n"


def _batched(case: Case) -> Case:
    """Return the case with a padding mask of an unbatched query, (S), as that of one batch item."""
    padding = case.key_padding_mask
    if padding is None or padding.dim() != 1 or case.sizes.batch not in (None, 1):
        return case
    return case.but(key_padding_mask=padding[None], query_shape=None)


class _Cure(NamedTuple):
    finding: Finding
    code: str
    case: Case  # after all fixes
    padded: Case  # the last one on the way that has a key_padding_mask, or the same as `case`


def _cure(case: Case, rule: str | None) -> _Cure:
    """Fix what the doctor finds, the wanted rule first."""
    first = _finding(examine(case), rule)
    codes, now, padded, finding = [], case, None, first
    for _ in range(_MOST_FIXES):
        codes.append(finding.fix)
        now = repaired(now, finding.rule)
        padded = now if now.key_padding_mask is not None else padded or now
        left = [found for found in examine(now).findings if _is_curable(found)]
        if not left:
            break
        finding = left[0]
    else:
        raise MaskError(f"the fix of {first.rule} leaves {finding.rule} behind: no test can be made of these masks")
    return _Cure(first, "\n".join(codes), now, _with_padding(case, padded or now))


def _with_padding(case: Case, padded: Case) -> Case:
    """Return the case that says which keys are padding, where a fix has merged the padding into `attn_mask`."""
    lost = case.key_padding_mask is not None and padded.key_padding_mask is None and case.padding_allowed is not None
    return case if lost else padded


def _is_curable(finding: Finding) -> bool:
    return finding.severity != "note" and RULES[finding.rule].remedy is not None


def _finding(report: Report, rule: str | None) -> Finding:
    if rule is not None and rule not in RULES:
        raise MaskError(f"rule must be one of {', '.join(RULES)}, got {rule!r}")
    found = [finding for finding in report.findings if rule in (None, finding.rule)]
    if not found:
        raise MaskError(f"{rule or 'the doctor'} finds nothing in these masks, so no test can fail on them")
    curable = [finding for finding in found if _is_curable(finding)]
    if not curable:
        raise MaskError(f"{found[0].rule} does no harm that a test could show: its finding says what to do")
    return curable[0]


def _sizes(case: Case) -> Sizes:
    """Return N, H, L and S, made up where the case does not say them: several heads, and queries as many as keys."""
    batch, heads, queries, keys = case.sizes
    many = len(case.attn_mask) if case.api == "mha" and case.attn_mask is not None and case.attn_mask.dim() == 3 else 0
    batch = batch or (many // heads if many and heads else 1)
    heads = heads or (many // batch if many else 2)
    length = queries or keys or 4
    return Sizes(batch, heads, length, keys or length)


def _header(case: Case, cure: _Cure, sizes: Sizes, body: str) -> str:
    lines = ["# Made by MHA Viz; needs torch and pytest. The tests fail until the fix in given() is applied."]
    lines.append(f"# {cure.finding.rule}: {' '.join(cure.finding.message.split())}")
    lines.append(f"# intended: {'what the fixed masks allow' if case.intent is None else case.intent}")
    lines += ["", *(f"import {name}" for name in ("base64", "warnings", "zlib") if f"{name}." in body), ""]
    lines += ["import pytest"] * ("pytest." in body)
    lines += ["import torch", "from torch import nn" if case.api == "mha" else "import torch.nn.functional as F", ""]
    lines.append(f"N, H, L, S = {', '.join(map(str, sizes))}  # batch items, heads, queries, keys")
    lines += ["E = 8 * H  # embed_dim"] * (case.api == "mha")
    return "\n".join([*lines, 'inf, nan = float("inf"), float("nan")'])


# The masks as given


def _given(case: Case, cure: _Cure, fixed: bool) -> Iterator[str]:
    yield "def given():"
    yield '    """Return the masks as they are passed, and how the layer is called."""'
    for name in ("attn_mask", "key_padding_mask"):
        yield f"    {name} = {_written(getattr(case, name), name)}"
    yield f"    is_causal, batch_first = {case.is_causal}, {case.batch_first is not False}"
    yield "    # The fix:"
    yield from (f"    {'' if fixed else '# '}{line}" for line in cure.code.splitlines())
    yield "    return attn_mask, key_padding_mask, is_causal, batch_first"


def _written(mask: Tensor | None, name: str) -> str:
    if mask is None:
        return "None"
    if mask.numel() > MAX_WRITTEN:
        return _packed(mask, name)
    shown = mask.int() if mask.dtype == torch.bool else mask
    rows = "".join(f"\n            {row}," for row in shown.reshape(-1, mask.shape[-1]).tolist())
    shape = f".reshape({', '.join(map(str, mask.shape))})" if mask.dim() != 2 else ""
    return f"torch.tensor(\n        [{rows}\n        ],\n        dtype={mask.dtype},\n    ){shape}"


def _packed(mask: Tensor, name: str) -> str:
    """Return code for a mask as its compressed bytes."""
    kept = (mask.float() if mask.dtype == torch.bfloat16 else mask).contiguous()  # NumPy has no bfloat16
    data = base64.b64encode(zlib.compress(kept.numpy().tobytes(), 9)).decode("ascii")
    if len(data) > MAX_PACKED_CHARACTERS:
        size = f"packed it has {len(data):,} characters, at most {MAX_PACKED_CHARACTERS:,}"
        raise InputError(f"{name} is too large to be written into a test: {size}.")
    unpacked = f'bytearray(zlib.decompress(base64.b64decode("{data}")))'
    cast = f".to({mask.dtype})" if kept.dtype != mask.dtype else ""
    return f"torch.frombuffer({unpacked}, dtype={kept.dtype}).reshape({list(mask.shape)}){cast}"


# What is allowed


def _allowed(case: Case, cure: _Cure, sizes: Sizes) -> Iterator[str]:
    fixed = _both(cure.case.attn_allowed, cure.case.padding_allowed)
    yield "def allowed():"
    yield '    """Return what each query should be able to see: [N, H, L, S], True = may attend."""'
    if case.intent is None:
        yield f"    may = {_meant(fixed)}"
    else:
        padding = None if "b" in case.intent.variables else cure.padded.padding_allowed
        yield from _intent(case.intent)
        if padding is not None:
            yield f"    real = {_meant(padding[:, 0, 0])}  # [N, S], False = padding"
            yield "    may = may & real[:, None, None]"
        if not _both(_intended(case.intent, sizes), padding).any(-1).all():
            yield f"    opened = {_meant(fixed)}"
            yield "    # A query that may see nothing sees what the fix opens for it."
            yield "    may = torch.where(may.any(-1, keepdim=True), may, opened)"
    yield "    return torch.broadcast_to(may, (N, H, L, S))"


def _intended(intent: Mask, sizes: Sizes) -> Tensor:
    batch, heads, queries, keys = (size or 1 for size in sizes)
    return intent.allowed(queries, keys, batch_size=batch, num_heads=heads)


def _both(attn: Tensor | None, padding: Tensor | None) -> Tensor:
    """Return what two masks allow together; one that is not there allows everything."""
    found = [allowed for allowed in (attn, padding) if allowed is not None]
    return reduce(torch.logical_and, found, torch.ones(1, 1, dtype=torch.bool))


def _meant(allowed: Tensor) -> str:
    plain = allowed[0, 0] if allowed.dim() == 4 and allowed.shape[:2] == (1, 1) else allowed
    return _written(plain.contiguous(), "what is allowed")


def _intent(intent: Mask) -> Iterator[str]:
    for name, index in _INDICES.items():
        if name in intent.variables:
            yield f"    {name} = {index}"
    yield f"    may = {intent.code()}  # {intent}"


# The call


def _inputs(case: Case, sizes: Sizes) -> str:
    dtype = f", dtype={case.dtype}" if case.dtype != torch.float32 else ""
    if case.api == "sdpa":
        return text.SDPA_INPUTS.format(dtype=dtype)
    same = sizes.queries == sizes.keys
    key = "query" if same else f"torch.randn(N, S, E, generator=generator{dtype})"
    return text.MHA_INPUTS.format(dtype=dtype, key=key)


def _attention(case: Case) -> str:
    if case.api == "sdpa":
        return text.SDPA_ATTENTION
    options = "".join(f", {name}=True" for name in ("add_bias_kv", "add_zero_attn") if getattr(case, name))
    return text.MHA_ATTENTION.format(options=options, dtype=case.dtype)
