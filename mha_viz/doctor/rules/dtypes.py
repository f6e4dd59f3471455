"""Dtypes that torch refuses, converts or warns about."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch
from torch import Tensor

from mha_viz.doctor.case import Case
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.doctor.rules.fixes import Name, as_bool, every, given


def _is_integer(raw: Tensor) -> bool:
    return not raw.is_floating_point() and raw.dtype != torch.bool


def _bools(case: Case) -> Fix:
    return every([as_bool(case, name) for name, raw, _ in given(case) if _is_integer(raw)])


@rule(
    "integer-mask",
    "error",
    "The mask holds integers",
    why="torch takes bool masks and floating masks only. uint8 was bool's predecessor and is gone; int64 comes from "
    "tokenizers, whose attention_mask is 1 for a real token, the opposite of key_padding_mask.",
    pitfall="P3",
    issues=(33763, 92733, 86353),
    good=lambda: Case(attn_mask=torch.ones(4, 4).triu(1).bool()),
    bad=lambda: Case(attn_mask=torch.ones(4, 4).triu(1).to(torch.uint8)),
    remedy=_bools,
)
def integer_mask(case: Case) -> Iterator[Symptom]:
    """Find masks that are neither bool nor floating."""
    for name, raw, _ in given(case):
        if _is_integer(raw):
            yield Symptom(
                f"{name} must be bool or a floating type; torch refuses {str(raw.dtype).removeprefix('torch.')}.",
                f"its dtype is {raw.dtype}, with values from {raw.numpy().min()} to {raw.numpy().max()}",
            )


def _in_dtype(case: Case) -> Fix:
    return every([_converted(name, case.dtype) for name, raw, _ in given(case) if _differs(raw, case)])


def _converted(name: Name, dtype: torch.dtype) -> Fix:
    return Fix(f"{name} = {name}.to({dtype})", lambda case: case.but(**{name: getattr(case, name).to(dtype)}))


def _differs(raw: Tensor, case: Case) -> bool:
    return raw.is_floating_point() and raw.dtype != case.dtype


def _passes_beside_the_other(case: Case) -> bool:
    """Say whether both masks are there and have the query's type together, as they are added up first."""
    if case.attn_mask is None or case.key_padding_mask is None or case.api == "sdpa":
        return False
    types = [raw.dtype if raw.is_floating_point() else case.dtype for _, raw, _ in given(case)]
    return reduce(torch.promote_types, types) == case.dtype


@rule(
    "float-dtype",
    "error",
    "The mask has another floating type than the query",
    why="A floating mask is added to the scores, so it must have their type. NumPy makes float64, autocast and "
    ".half() make queries of 16 bits; the call then fails, with a message that depends on need_weights. Given "
    "attn_mask and key_padding_mask, torch first adds them up, a bool one in the query's type, and asks only that the "
    "sum has it: a narrower mask passes beside a bool one or one of the right type, which is a warning.",
    pitfall="P3",
    issues=(99012, 111276),
    good=lambda: Case(attn_mask=torch.full((4, 4), -torch.inf).triu(1)),
    bad=lambda: Case(attn_mask=torch.full((4, 4), -torch.inf, dtype=torch.float64).triu(1)),
    remedy=_in_dtype,
)
def float_dtype(case: Case) -> Iterator[Symptom]:
    """Find floating masks of another type than the query's."""
    passes = _passes_beside_the_other(case)
    for name, raw, _ in given(case):
        if not _differs(raw, case):
            continue
        seen = f"{name} has dtype {raw.dtype} and the query {case.dtype}"
        if passes:
            yield Symptom(
                f"{name} is {raw.dtype}, not the query's type {case.dtype}: torch would refuse it alone.",
                f"{seen}; the call runs because the sum of both masks has the query's type",
                severity="warning",
            )
        else:
            yield Symptom(f"{name} must be bool or of the query's type {case.dtype}; it is {raw.dtype}.", seen)


def _too_low(raw: Tensor, low: float, case: Case) -> bool:
    return raw.is_floating_point() and low < torch.finfo(torch.float16).min and case.dtype == torch.float16


def _halves(case: Case) -> Fix:
    return every([_half(name) for name, raw, found in given(case) if found and _too_low(raw, found.low, case)])


def _half(name: Name) -> Fix:
    lowest = torch.finfo(torch.float16).min

    def apply(case: Case) -> Case:
        raw: Tensor = getattr(case, name)
        return case.but(**{name: raw.masked_fill(raw < lowest, -torch.inf).to(torch.float16)})

    return Fix(f"{name} = {name}.masked_fill({name} < {lowest}, -torch.inf).to(torch.float16)", apply)


@rule(
    "half-overflow",
    "warning",
    "The penalty is too large for half precision",
    why="The lowest number of float16 is -65504, so -1e9 becomes -inf on the way to half precision. A row in which "
    "everything is hidden is then NaN, where in float32 it was uniform: the model breaks only when it is made fast.",
    pitfall="P3",
    issues=(99012,),
    good=lambda: Case(attn_mask=torch.full((4, 4), -torch.inf, dtype=torch.half).triu(1), dtype=torch.half),
    bad=lambda: Case(attn_mask=torch.full((4, 4), -1e9).triu(1), dtype=torch.half),
    remedy=_halves,
)
def half_overflow(case: Case) -> Iterator[Symptom]:
    """Find finite numbers that float16 has no room for."""
    for name, raw, found in given(case):
        if found and _too_low(raw, found.low, case):
            yield Symptom(
                f"{name} holds {found.low:.3g}, which becomes -inf in the query's float16.",
                f"the lowest number in {name} is {found.low:.6g}, the lowest of float16 is -65504",
            )


def _one_type(case: Case) -> Fix:
    name: Name = "key_padding_mask"
    other: Name = "attn_mask"
    if case.attn_mask is not None and case.attn_mask.dtype == torch.bool:
        name, other = other, name
    code = f"{name} = torch.zeros_like({name}, dtype={other}.dtype).masked_fill({name}, -torch.inf)"

    def apply(c: Case) -> Case:
        raw: Tensor = getattr(c, name)
        zeros = torch.zeros_like(raw, dtype=getattr(c, other).dtype)
        return c.but(**{name: zeros.masked_fill(raw, -torch.inf)})

    return Fix(code, apply)


@rule(
    "mixed-dtypes",
    "warning",
    "One mask is bool, the other floating",
    why="nn.MultiheadAttention adds the two masks up, so it turns the bool one into floats and warns that this is "
    "deprecated. The result is right today. The mix often comes from nn.Transformer.generate_square_subsequent_mask, "
    "which returns floats.",
    pitfall="P6",
    issues=(95702, 96103, 92733),
    good=lambda: Case(
        attn_mask=torch.ones(3, 3, dtype=torch.bool).triu(1),
        key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 1]]).bool(),
    ),
    bad=lambda: Case(
        attn_mask=torch.full((3, 3), -torch.inf).triu(1),
        key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 1]]).bool(),
    ),
    remedy=_one_type,
    explained_by=("additive-ones", "additive-padding"),
)
def mixed_dtypes(case: Case) -> Iterator[Symptom]:
    """Find a bool mask beside a floating one."""
    attn, padding = case.attn_mask, case.key_padding_mask
    if attn is None or padding is None or case.api == "sdpa":
        return
    floating = (attn.is_floating_point(), padding.is_floating_point())
    if any(floating) and torch.bool in (attn.dtype, padding.dtype):
        yield Symptom(
            "attn_mask and key_padding_mask have different types, which torch warns about as deprecated.",
            f"attn_mask is {attn.dtype}, key_padding_mask is {padding.dtype}",
        )
