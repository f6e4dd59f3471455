"""Floating masks, which are added to the scores: ones that add, NaN."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor import reading, wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.doctor.rules.fixes import Name, as_bool, every, given
from mha_viz.masks import mask


def _ones_symptom(name: Name, raw: Tensor) -> Symptom:
    ones = int((raw == 1).count_nonzero())
    first = wording.first(raw[None] == 1, 1)[0]
    return Symptom(
        f"{name} is a float mask of 0 and 1, which hides nothing: floats are added to the scores.",
        f"{ones:,} of {raw.numel():,} cells are 1.0, the first at {tuple(first[1:])}; each multiplies "
        f"the unnormalised weight of its key by e = 2.718, so that key gets more attention, not none",
    )


@rule(
    "additive-ones",
    "error",
    "A float mask of 0 and 1 is added, not applied",
    why="A bool mask hides; a floating mask is added to the scores before the softmax. torch.ones makes floats, so "
    "torch.triu(torch.ones(L, L), 1) adds 1 to the score of every future key: nothing is hidden, and the future gets "
    "e = 2.718 times the weight it would have had, before each row is normalised.",
    pitfall="P2",
    issues=(21518, 136816),
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), intent=mask("causal")),
    bad=lambda: Case(attn_mask=torch.ones(4, 4).triu(1), intent=mask("causal")),
    remedy=lambda case: as_bool(case, "attn_mask"),
)
def additive_ones(case: Case) -> Iterator[Symptom]:
    """Find an `attn_mask` of 0.0 and 1.0."""
    if case.attn_mask is not None and case.attn_values and case.attn_values.ones:
        yield _ones_symptom("attn_mask", case.attn_mask)


@rule(
    "additive-padding",
    "error",
    "A float padding mask of 0 and 1 is added, not applied",
    why="key_padding_mask.float() turns True into 1.0, which is added to the scores: padding gets more attention "
    "than before, not none. Only a bool mask, or a float mask of 0 and -inf, hides.",
    pitfall="P2",
    issues=(137887, 92554),
    good=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 1]]).bool()),
    bad=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 1]]).float()),
    remedy=lambda case: as_bool(case, "key_padding_mask"),
)
def additive_padding(case: Case) -> Iterator[Symptom]:
    """Find a `key_padding_mask` of 0.0 and 1.0."""
    if case.key_padding_mask is not None and case.padding_values and case.padding_values.ones:
        yield _ones_symptom("key_padding_mask", case.key_padding_mask)


def _without_nan(case: Case) -> Fix:
    return every([_cleared(name) for name, _, values in given(case) if values and values.nans])


def _cleared(name: Name) -> Fix:
    def apply(case: Case) -> Case:
        raw: Tensor = getattr(case, name)
        return case.but(**{name: raw.masked_fill(raw.isnan(), 0.0)})

    return Fix(f"{name} = {name}.masked_fill({name}.isnan(), 0.0)", apply)


@rule(
    "nan-in-mask",
    "error",
    "The mask holds NaN",
    why="0 * -inf is NaN, so x * float('-inf') makes NaN of every cell that was to be kept. A NaN added to one score "
    "makes the whole row of weights NaN, and the loss after it.",
    pitfall="P2",
    good=lambda: Case(attn_mask=torch.full((4, 4), -torch.inf).triu(1)),
    bad=lambda: Case(attn_mask=torch.ones(4, 4).triu(1) * -torch.inf),
    remedy=_without_nan,
)
def nan_in_mask(case: Case) -> Iterator[Symptom]:
    """Find NaN in either mask."""
    for name, raw, values in given(case):
        if values and values.nans:
            kept = ", and every other cell is -inf, as 0 * -inf gives" if values.minus_infinities else ""
            rows = sum(reading.counted(block.isnan().any(dim=-1)) for block in reading.blocks(raw))
            yield Symptom(
                f"{name} holds NaN, which makes every row it is added to NaN.",
                f"{values.nans:,} of {raw.numel():,} cells are NaN, in {rows} rows"
                f"{kept if values.nans + values.minus_infinities == raw.numel() else ''}",
            )


def _negated(case: Case) -> Fix:
    return every([_lowered(name) for name, _, values in given(case) if values and values.plus_infinities])


def _lowered(name: Name) -> Fix:
    def apply(case: Case) -> Case:
        raw: Tensor = getattr(case, name)
        return case.but(**{name: raw.masked_fill(raw == torch.inf, -torch.inf)})

    return Fix(f"{name} = {name}.masked_fill({name} == torch.inf, -torch.inf)", apply)


@rule(
    "plus-infinity",
    "error",
    "The mask holds +inf",
    why="A minus sign is missing: +inf is the largest score there is, and the softmax of a row with +inf in it is "
    "inf - inf = NaN.",
    pitfall="P2",
    good=lambda: Case(attn_mask=torch.full((4, 4), -torch.inf).triu(1)),
    bad=lambda: Case(attn_mask=torch.full((4, 4), torch.inf).triu(1)),
    remedy=_negated,
)
def plus_infinity(case: Case) -> Iterator[Symptom]:
    """Find +inf in either mask."""
    for name, raw, values in given(case):
        if values and values.plus_infinities:
            yield Symptom(
                f"{name} holds +inf, where -inf hides a key.",
                f"{values.plus_infinities:,} of {raw.numel():,} cells are +inf; their rows become NaN",
            )
