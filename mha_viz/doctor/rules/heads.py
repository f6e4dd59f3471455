"""Masks that differ between heads or batch items: their order, and what averaging hides."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor.case import Case
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.masks import mask

_ITEMS = [[0, 0, 0, 0], [0, 0, 1, 1]]  # [N, S]; no tensor: the first one settles how torch takes memory


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.equal(left, right)


def _interleaved(case: Case) -> Fix:
    n, h = case.sizes.batch or 1, case.sizes.heads or 1

    def apply(c: Case) -> Case:
        assert c.attn_mask is not None
        return c.but(attn_mask=c.attn_mask[:n].repeat_interleave(h, 0))

    return Fix(f"attn_mask = attn_mask[:{n}].repeat_interleave({h}, 0)", apply)


@rule(
    "repeat-order",
    "error",
    "The masks of the batch items are in the wrong order",
    why="A mask of shape (N * H, L, S) has index n * H + h: all heads of batch item 0 come first. mask.repeat(H, 1, 1) "
    "puts all batch items first instead. The shape is right, so nothing complains, and each head of a batch item is "
    "given another item's mask. mask.repeat_interleave(H, 0) is right.",
    pitfall="P7",
    issues=(64706, 97409, 97605),
    good=lambda: Case(
        attn_mask=torch.tensor(_ITEMS).bool()[:, None].expand(-1, 3, -1).repeat_interleave(4, 0),
        num_heads=4,
        intent=mask("padding(4, 2)"),
    ),
    bad=lambda: Case(
        attn_mask=torch.tensor(_ITEMS).bool()[:, None].expand(-1, 3, -1).repeat(4, 1, 1),
        num_heads=4,
        intent=mask("padding(4, 2)"),
    ),
    remedy=_interleaved,
)
def repeat_order(case: Case) -> Iterator[Symptom]:
    """Find slices that depend on i % N where they should depend on i // H."""
    allowed, size = case.attn_allowed, case.sizes
    if allowed is None or case.attn_mask is None or case.api == "sdpa" or case.attn_mask.dim() != 3:
        return
    n, h = size.batch or 1, size.heads or 1
    items = allowed.flatten(0, 1)[:n]  # what repeat() was given, if it was repeat()
    if n == 1 or h == 1 or all(_same(items[0], item) for item in items):
        return
    if not all(_same(part, items) for part in allowed.flatten(0, 1).split(n)):
        return
    wanted = case.intended_attn
    told = wanted is not None and len(wanted) == n and _same(wanted[:, 0], items) and wanted.shape[1] == 1
    if wanted is not None and not told:
        return
    if told or _is_padding(items):
        yield Symptom(
            "attn_mask repeats the batch items in the order of repeat(H, 1, 1); repeat_interleave(H, 0) was meant.",
            f"attn_mask[i] equals attn_mask[i % {n}] for all i, but index i is batch item i // {h}: "
            f"batch item 0, head 1 is given the mask of batch item {1 % n}",
            tuple((item, head, None, None) for item in range(n) for head in range(h) if item != (item * h + head) % n),
            "error" if told or n != h else "warning",
        )


def _is_padding(items: Tensor) -> bool:
    """Say whether [N, L, S] masks differ as padding does: by whole columns, hidden from every query."""
    union = items.any(dim=0)
    return all(bool((item == (union & item.any(dim=-2, keepdim=True))).all()) for item in items)


def _each_head(case: Case) -> Fix:
    code = "average_attn_weights = False  # module(query, key, value, average_attn_weights=False)"
    return Fix(code, lambda c: c.but(average_attn_weights=False))


@rule(
    "averaged-heads",
    "note",
    "The average over heads hides that their masks differ",
    why="average_attn_weights is True unless you say otherwise. Where the masks of the heads differ, the average looks "
    "like none of them; and one head that is NaN makes the average NaN.",
    pitfall="P14",
    issues=(34537, 47583, 160064),
    good=lambda: Case(
        attn_mask=torch.stack([torch.ones(3, 3).triu(1), torch.zeros(3, 3)]).bool(),
        num_heads=2,
        average_attn_weights=False,
    ),
    bad=lambda: Case(attn_mask=torch.stack([torch.ones(3, 3).triu(1), torch.zeros(3, 3)]).bool(), num_heads=2),
    remedy=_each_head,
    explained_by=("repeat-order",),
)
def averaged_heads(case: Case) -> Iterator[Symptom]:
    """Find masks that differ between the heads of one batch item, where the weights are or may be averaged."""
    allowed = case.attn_allowed
    if allowed is None or case.api == "sdpa" or case.average_attn_weights is False or allowed.shape[1] == 1:
        return
    for item, heads in enumerate(allowed):
        differing = [head for head in range(1, len(heads)) if not _same(heads[0], heads[head])]
        if differing:
            queries = (heads[0] != heads[differing[0]]).any(dim=-1).nonzero()[:, 0].tolist()
            yield Symptom(
                "The heads have different masks, and averaged weights show none of them as it is.",
                f"in batch item {item}, head {differing[0]} differs from head 0, first in query {queries[0]}",
                tuple((item, head, None, None) for head in differing),
            )
            return


@rule(
    "averaged-weights",
    "note",
    "The weights are the average over the heads",
    why="average_attn_weights is True unless you say otherwise. The call then returns (N, L, S), so that weights[0] is "
    "the first batch item, and after squeeze(0) the first query; code that takes it for the first head shows something "
    "else or fails with an IndexError.",
    pitfall="P14",
    issues=(34537, 82430),
    good=lambda: Case(attn_mask=torch.zeros(3, 3).bool(), num_heads=2, average_attn_weights=False),
    bad=lambda: Case(attn_mask=torch.zeros(3, 3).bool(), num_heads=2, average_attn_weights=True),
    remedy=_each_head,
    explained_by=("averaged-heads",),
)
def averaged_weights(case: Case) -> Iterator[Symptom]:
    """Find weights that are averaged over several heads, where the call says so."""
    heads = case.sizes.heads
    if case.api == "mha" and case.average_attn_weights and heads is not None and heads > 1:
        yield Symptom(
            f"The call returns the average over its {heads} heads, and the weights of no single head.",
            "average_attn_weights is True, as it is by default: the weights are (N, L, S), not (N, H, L, S)",
        )
