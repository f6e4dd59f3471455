"""Finite numbers in place of -inf: what leaks through them, and what becomes of a row that holds nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from mha_viz.doctor import wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.findings import Severity
from mha_viz.doctor.reading import some, spread
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.doctor.rules.fixes import Name, every, given, opened, with_infinity
from mha_viz.masks.encode import allowed_as_given

VANISHES = -104.0  # the exponential of this is 0 in float32


def _penalties(case: Case) -> list[tuple[Name, float]]:
    return [(name, found.penalty) for name, _, found in given(case) if found and found.penalty is not None]


def _infinite(case: Case) -> Fix:
    return every([with_infinity(name, penalty) for name, penalty in _penalties(case)])


def _share(case: Case, name: Name, penalty: float) -> tuple[float, int]:
    """Return the largest share of a row that hidden keys get where all scores are equal, and the row (its query)."""
    allowed = case.attn_allowed if name == "attn_mask" else case.padding_allowed
    if allowed is None or penalty <= VANISHES:
        return 0.0, 0
    seen = torch.from_numpy(np.count_nonzero(allowed.numpy(), axis=-1))  # torch would make 64 bits of each cell
    leaked = (allowed.shape[-1] - seen) * math.exp(penalty)
    shares = torch.where(seen > 0, leaked / (seen + leaked), 0.0)
    at = int(shares.argmax())
    return float(shares.flatten()[at]), at % shares.shape[-1]


def _measured(case: Case) -> str:
    """Say how much weight the hidden keys really got, where weights are given."""
    allowed, weights = case.attn_allowed, case.weights
    if allowed is None or weights is None:
        return ""
    four = weights if weights.dim() == 4 else weights[:, None]
    four = four[..., : allowed.shape[-1]]
    if case.padding_allowed is not None:
        allowed = allowed & case.padding_allowed
    if four.dim() != 4 or four.shape[-2:] != allowed.shape[-2:]:
        return ""
    if four.shape[1] == 1 and allowed.shape[1] > 1:
        allowed = allowed.any(dim=1, keepdim=True)
    leaked = float((four * ~allowed).sum(dim=-1).nan_to_num().max())
    return f"; in the weights given it is up to {leaked:.3g}"


@rule(
    "finite-penalty",
    "error",
    "A finite number stands in for -inf",
    why="A number that is added to a score hides a key only as far as its exponential is small: -1 leaves a hidden "
    "key 37 % of what an equal key gets, -10 leaves 0.005 %, and a large score takes all of it back. From about -104 "
    "on nothing is left in float32, but a row in which everything is hidden then turns uniform instead of NaN.",
    pitfall="P5",
    issues=(27461,),
    good=lambda: Case(attn_mask=torch.full((4, 4), -torch.inf).triu(1)),
    bad=lambda: Case(attn_mask=torch.full((4, 4), -10.0).triu(1)),
    remedy=_infinite,
    explained_by=("uniform-rows",),
)
def finite_penalty(case: Case) -> Iterator[Symptom]:
    """Find finite penalties, and measure what they let through."""
    for name, penalty in _penalties(case):
        share, query = _share(case, name, penalty)
        severity: Severity = "note"
        if share > 0:
            severity = "error" if share > 1e-3 else "warning"
        row = f" (query {query})" if name == "attn_mask" else ""
        leak = f"with equal scores, hidden keys get up to {share:.3g} of a row{row}"
        yield Symptom(
            f"{name} hides with the finite number {penalty:.3g}, which a score can outweigh; -inf can't be outweighed.",
            f"{leak if share > 0 else 'its exponential is 0, so nothing leaks'}{_measured(case)}",
            ((None, None, query, None),) if share > 0 and name == "attn_mask" else (),
            severity,
        )


def _uniform(case: Case) -> Tensor | None:
    """Return the rows of `empty_rows` that some key is left for, because a finite number hides it."""
    attn, padding, empty = case.attn_allowed, case.padding_allowed, case.empty_rows
    if attn is None or not _penalties(case) or empty is None or not empty.any():
        return None
    if case.attn_values and case.attn_values.nans + case.attn_values.plus_infinities:
        return None
    finite = _strict(case.attn_mask, attn, case)
    if padding is None:
        return empty & some(finite, -1)
    keys = _strict(case.key_padding_mask, padding, case)
    left = []
    for n, real in enumerate(padding):
        own = min(n, len(attn) - 1)
        if not empty[n].any():  # most batch items: nothing to look at
            left.append(empty[n])
            continue
        cells = finite[own] & keys[n]
        if _overflows(case):
            cells &= attn[own] | real
        left.append(some(cells, -1))
    return empty & torch.stack(left)


def _strict(raw: Tensor | None, allowed: Tensor, case: Case) -> Tensor:
    """Return what is not -inf: what is left over where everything is hidden."""
    if raw is None or not raw.is_floating_point():
        return allowed
    return spread(allowed_as_given(raw, case.api), allowed)


def _overflows(case: Case) -> bool:
    """Say whether the two penalties add up to -inf in the type of the mask."""
    attn, padding, raw = case.attn_values, case.padding_values, case.attn_mask
    if attn is None or padding is None or raw is None:
        return False
    return attn.low + padding.low < torch.finfo(raw.dtype).min


def _spread(case: Case, at: list[int]) -> str:
    """Say what a row becomes where all scores are equal."""
    item, head, query = at
    scores = torch.zeros(case.sizes.keys or 1)
    for raw, allowed in ((case.attn_mask, case.attn_allowed), (case.key_padding_mask, case.padding_allowed)):
        if raw is None or allowed is None:
            continue
        added = spread(raw, allowed) if raw.is_floating_point() else torch.where(allowed, 0.0, -torch.inf)
        row = added[min(item, len(added) - 1), min(head, added.shape[1] - 1), min(query, added.shape[2] - 1)]
        scores = scores + row.float()
    weights = scores.softmax(dim=-1)
    keys = weights.nonzero()[:, 0].tolist()
    place = "".join(f"{name} {i}, " for name, i in (("batch item", item), ("head", head)) if i)
    return f"; {place}query {query} gives {float(weights.max()):.3g} to each of the keys {wording.spans(keys)}"


@rule(
    "uniform-rows",
    "error",
    "A row in which everything is hidden becomes uniform",
    why="Where every key of a row is hidden by the same finite number, such as torch.finfo(dtype).min, the softmax "
    "sees equal scores (the number swallows the real ones) and gives every key the same weight, forbidden ones too. "
    "No NaN warns of it. Where attn_mask and key_padding_mask both add finfo.min, the sum overflows to -inf, and the "
    "row spreads over the keys that only one of them hides.",
    pitfall="P5",
    good=lambda: Case(attn_mask=torch.full((4, 4), torch.finfo(torch.float32).min).triu(1)),
    bad=lambda: Case(attn_mask=torch.full((4, 4), torch.finfo(torch.float32).min).triu(0)),
    remedy=lambda case: every([_infinite(case), opened(_infinite(case).apply(case))]),
    explained_by=("inverted-mask", "inverted-padding"),
)
def uniform_rows(case: Case) -> Iterator[Symptom]:
    """Find rows without any key to see whose keys are hidden by finite numbers."""
    rows = _uniform(case)
    if rows is None or not rows.any():
        return
    numbers = " and ".join(f"{penalty:.3g} in {name}" for name, penalty in _penalties(case))
    yield Symptom(
        "Some queries have every key hidden by a finite number, so they attend to hidden keys, all alike.",
        f"{wording.rows(rows)} ({wording.counted(int(rows.count_nonzero()), 'row')} in all): hidden by {numbers}"
        f"{_spread(case, wording.first(rows, 1)[0])}",
        wording.positions(rows),
    )
