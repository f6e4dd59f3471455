"""Fixes that more than one rule hands out, as code and as data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from mha_viz.doctor.case import Case
from mha_viz.doctor.reading import Values
from mha_viz.doctor.registry import Fix

Name = Literal["attn_mask", "key_padding_mask"]


def given(case: Case) -> list[tuple[Name, Tensor, Values | None]]:
    """Return the masks of a case that are there, each with its name and the numbers in it."""
    found: list[tuple[Name, Tensor, Values | None]] = []
    if case.attn_mask is not None:
        found.append(("attn_mask", case.attn_mask, case.attn_values))
    if case.key_padding_mask is not None:
        found.append(("key_padding_mask", case.key_padding_mask, case.padding_values))
    return found


def every(fixes: list[Fix]) -> Fix:
    """Return fixes one after the other as one."""

    def apply(case: Case) -> Case:
        for fix in fixes:
            case = fix.apply(case)
        return case

    return Fix("\n".join(fix.code for fix in fixes), apply)


def compared(name: Name, number: int) -> Fix:
    """Return the fix that makes a mask of 0 and 1 a bool mask: True where it equals `number`."""
    return Fix(f"{name} = {name} == {number}", lambda case: case.but(**{name: getattr(case, name) == number}))


def as_bool(case: Case, name: Name) -> Fix:
    """Return the fix that makes a mask of 0 and 1 the bool mask that was meant."""
    keeps = ones_keep(case) if name == "attn_mask" else padding_ones_keep(case)
    shows = name == "attn_mask" and case.api == "sdpa"
    return compared(name, int(keeps == shows))


def ones_keep(case: Case) -> bool:
    """Say whether a 1 in a 0/1 `attn_mask` was meant to keep a key: as the intent tells, or else the diagonal."""
    mask = case.attn_mask
    assert mask is not None
    ones = mask == 1
    if mask.dim() == 2 and case.intended_attn is not None and mask.shape == case.intended_attn.shape[-2:]:
        agreeing = (ones == case.intended_attn).count_nonzero()
        return bool(2 * agreeing >= case.intended_attn.numel())
    square = mask.dim() >= 2 and mask.shape[-1] == mask.shape[-2]
    return bool(square and ones.diagonal(dim1=-2, dim2=-1).all())


def padding_ones_keep(case: Case) -> bool:
    """Say whether a 1 in a 0/1 `key_padding_mask` was meant to keep a key: as the intent tells, or its longest item."""
    mask = case.key_padding_mask
    assert mask is not None
    ones = mask == 1
    wanted = case.intended_padding
    if wanted is not None and wanted.numel() == ones.numel():
        return bool(2 * (ones.reshape(wanted.shape) == wanted).sum() >= wanted.numel())
    if ones.all(dim=-1).any():
        return True
    return bool((~ones).all(dim=-1).any()) is False and bool(ones[..., 0].all())


def turned(name: Name, mask: Tensor) -> Fix:
    """Return the fix that makes a mask hide what it shows and show what it hides."""
    if mask.dtype == torch.bool:
        return Fix(f"{name} = ~{name}", lambda case: case.but(**{name: ~getattr(case, name)}))

    def apply(case: Case) -> Case:
        raw: Tensor = getattr(case, name)
        return case.but(**{name: torch.zeros_like(raw).masked_fill(raw == 0, -torch.inf)})

    return Fix(f"{name} = torch.zeros_like({name}).masked_fill({name} == 0, -torch.inf)", apply)


def with_infinity(name: Name, threshold: float) -> Fix:
    """Return the fix that hides with -inf what is hidden by a finite number."""

    def apply(case: Case) -> Case:
        raw: Tensor = getattr(case, name)
        return case.but(**{name: raw.masked_fill(raw <= threshold, -torch.inf)})

    return Fix(f"{name} = {name}.masked_fill({name} <= {threshold!r}, -torch.inf)", apply)


def hiding(case: Case) -> tuple[str, Tensor]:
    """Return where `key_padding_mask` hides, as code and as a bool tensor of its shape."""
    raw = case.key_padding_mask
    assert raw is not None
    if raw.dtype == torch.bool:
        return "key_padding_mask", raw
    if raw.is_floating_point():
        return "(key_padding_mask == -torch.inf)", raw == -torch.inf
    return "(key_padding_mask != 0)", raw != 0


def opened(case: Case) -> Fix:
    """Return the fix that lets a row which sees nothing see one key: its own position, or key 0.

    A padding mask is merged into `attn_mask` first, because it can't open a key for one query alone.
    """
    if case.attn_mask is None:
        return unpadded(case)
    size = case.sizes
    square = size.queries is not None and size.keys is not None and size.queries <= size.keys
    own = f"torch.eye({size.queries}, {size.keys}, dtype=torch.bool)" if square else f"torch.arange({size.keys}) == 0"

    def keys() -> Tensor:
        if square:
            return torch.eye(size.queries or 0, size.keys or 0, dtype=torch.bool)
        return torch.arange(size.keys or 0) == 0

    if case.attn_mask.is_floating_point():
        return _opened_floats(case, own, keys)
    return _opened_bools(case, own, keys)


def unpadded(case: Case) -> Fix:
    """Return the fix that lets a batch item which is all padding see all its keys: its output is ignored anyway."""
    if case.padding_values is None:
        code = "key_padding_mask = key_padding_mask & ~key_padding_mask.all(-1, keepdim=True)"
    else:
        code = (
            "nothing = (key_padding_mask == -torch.inf).all(-1, keepdim=True)\n"
            "key_padding_mask = key_padding_mask.masked_fill(nothing, 0.0)"
        )

    def apply(c: Case) -> Case:
        raw = c.key_padding_mask
        assert raw is not None
        if c.padding_values is None:
            return c.but(key_padding_mask=raw & ~raw.all(-1, keepdim=True))
        return c.but(key_padding_mask=raw.masked_fill((raw == -torch.inf).all(-1, keepdim=True), 0.0))

    return Fix(code, apply)


def _opened_bools(case: Case, own: str, keys: Callable[[], Tensor]) -> Fix:
    if case.api == "sdpa":
        return Fix(
            f"attn_mask = attn_mask | (~attn_mask.any(-1, keepdim=True) & ({own}))",
            lambda c: c.but(attn_mask=_bool(c) | (~_bool(c).any(-1, keepdim=True) & keys())),
        )
    merges = _fits_into_attn(case)
    code = ["hidden = attn_mask"]
    if merges:
        code = [f"hidden = attn_mask | {_hiding_by_head(case)[0]}", "key_padding_mask = None"]
    code.append(f"attn_mask = hidden & ~(hidden.all(-1, keepdim=True) & ({own}))")

    def apply(c: Case) -> Case:
        hidden = _bool(c)
        if merges:
            hidden, c = hidden | _hiding_by_head(c)[1], c.but(key_padding_mask=None)
        return c.but(attn_mask=hidden & ~(hidden.all(-1, keepdim=True) & keys()))

    return Fix("\n".join(code), apply)


def _opened_floats(case: Case, own: str, keys: Callable[[], Tensor]) -> Fix:
    merges = _fits_into_attn(case)
    code = []
    if merges:
        code = [
            f"padding = {_hiding_by_head(case)[0]}",
            "attn_mask = attn_mask.masked_fill(padding, -torch.inf)",
            "key_padding_mask = None",
        ]
    code += [
        "nothing = (attn_mask == -torch.inf).all(-1, keepdim=True)",
        f"attn_mask = attn_mask.masked_fill(nothing & ({own}), 0.0)",
    ]

    def apply(c: Case) -> Case:
        mask = c.attn_mask
        assert mask is not None
        if merges:
            mask, c = mask.masked_fill(_hiding_by_head(c)[1], -torch.inf), c.but(key_padding_mask=None)
        nothing = (mask == -torch.inf).all(-1, keepdim=True)
        return c.but(attn_mask=mask.masked_fill(nothing & keys(), 0.0))

    return Fix("\n".join(code), apply)


def _fits_into_attn(case: Case) -> bool:
    return case.padding_allowed is not None and case.api == "mha"


def _hiding_by_head(case: Case) -> tuple[str, Tensor]:
    """Return where `key_padding_mask` hides, as code and as bool [N * H, 1, S], or [S] of a call without a batch."""
    code, hidden = hiding(case)
    if hidden.dim() == 1:
        return code, hidden
    heads = case.sizes.heads
    every_head = hidden.repeat_interleave(heads or 1, 0)[:, None, :]
    return f"{code}.repeat_interleave({heads or 'num_heads'}, 0)[:, None, :]", every_head


def _bool(case: Case) -> Tensor:
    assert case.attn_mask is not None
    return case.attn_mask
