"""Queries that no key is left for, and what torch makes of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor import wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.reading import some
from mha_viz.doctor.registry import Symptom, rule
from mha_viz.doctor.rules.fixes import opened, unpadded
from mha_viz.masks import mask

# What each way through torch makes of a row without keys.
PATHS = {
    "mha": "with need_weights=True, and on the fast path of eval and no_grad, such a row has NaN weights and output; "
    "with need_weights=False and gradients its output is out_proj.bias",
    "sdpa": "F.scaled_dot_product_attention returns zeros for such a row",
}


def _infinitely_empty(case: Case) -> Tensor | None:
    """Return the rows that are empty by -inf or True; those that a finite number empties are another rule's."""
    if case.sees_extra_keys or case.empty_rows is None or not case.empty_rows.any():
        return None
    penalised = any(v and v.penalty is not None for v in (case.attn_values, case.padding_values))
    return None if penalised else case.empty_rows


def _said(rows: Tensor) -> str:
    return f"{wording.rows(rows)} ({wording.counted(int(rows.count_nonzero()), 'row')} in all)"


def _padding_items(case: Case) -> Tensor | None:
    return None if case.padding_allowed is None else ~case.padding_allowed[:, 0, 0].any(dim=-1)


@rule(
    "all-padding",
    "error",
    "A batch item is all padding",
    why="Where every key of a batch item is padding, all its rows are empty, and the softmax of nothing is NaN. The "
    "loss need not use that item for the damage to be done: 0 * NaN is NaN, so its gradients reach every parameter.",
    pitfall="P4",
    issues=(41508, 81077, 152028),
    good=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [0, 1, 1]]).bool()),
    bad=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [1, 1, 1]]).bool()),
    remedy=unpadded,
    explained_by=("inverted-padding", "integer-mask", "padding-transposed"),
)
def all_padding(case: Case) -> Iterator[Symptom]:
    """Find batch items without a key."""
    items = _padding_items(case)
    if items is None or not items.any() or case.sees_extra_keys:
        return
    if case.padding_values is not None and case.padding_values.penalty is not None:
        return
    found = items.nonzero()[:, 0].tolist()
    yield Symptom(
        "A batch item has all its keys hidden, so none of its queries has anything to attend to.",
        f"batch item {wording.spans(found)} is all padding; {PATHS[case.api]}",
        tuple((item, None, None, None) for item in found[:8]),
    )


def _left_padded(case: Case) -> Tensor | None:
    """Return the empty rows that come of padding at the start and a mask that looks back only."""
    empty, attn = _infinitely_empty(case), case.attn_allowed
    if empty is None or attn is None or case.sizes.queries != case.sizes.keys:
        return None
    if case.padding_allowed is not None:
        hidden = ~case.padding_allowed.expand(-1, attn.shape[1], -1, -1)[:, :, 0]  # [N, H, S]
        own = ~some(attn, -1)
    else:
        hidden = ~some(attn, -2)
        own = torch.zeros_like(empty)
    start = hidden.to(torch.int8).cumprod(dim=-1).bool()  # [N, 1 or H, S]: before the first real key
    rows = empty & start & ~own & ~hidden.all(dim=-1, keepdim=True)
    return rows if rows.any() else None


@rule(
    "left-padding-causal",
    "error",
    "Left padding with a causal mask leaves the first queries nothing",
    why="With padding at the start, a causal mask lets the padded queries look only at earlier positions, which are "
    "all padding: nothing is left, and the softmax of nothing is NaN. The rows belong to padding, but in the next "
    "layer NaN is a key like any other, and NaN times a weight of 0 is NaN; gradients turn NaN as well.",
    pitfall="P4",
    issues=(41508, 103963),
    good=lambda: Case(
        attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        key_padding_mask=torch.tensor([[0, 0, 0, 0], [0, 0, 1, 1]]).bool(),
        num_heads=2,
    ),
    bad=lambda: Case(
        attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1),
        key_padding_mask=torch.tensor([[0, 0, 0, 0], [1, 1, 0, 0]]).bool(),
        num_heads=2,
    ),
    remedy=opened,
    explained_by=("inverted-padding", "inverted-mask", "diagonal-masked", "integer-mask", "padding-transposed"),
)
def left_padding_causal(case: Case) -> Iterator[Symptom]:
    """Find rows before the first real key that see only padding."""
    rows = _left_padded(case)
    if rows is not None:
        yield Symptom(
            "Padding at the start and a mask that looks back only leave the first queries without any key.",
            f"only padding to look at for {_said(rows)}; {PATHS[case.api]}",
            wording.positions(rows),
        )


@rule(
    "fully-masked-rows",
    "error",
    "A query has every key hidden",
    why="The softmax of a row that is all -inf is 0 / 0. nn.MultiheadAttention gives three different answers to it, "
    "depending on how it is called, and with NaN in the forward every gradient is NaN, even if the loss leaves the row "
    "out. Let such a row see one key, such as its own, and ignore their output.",
    pitfall="P4",
    issues=(41508, 160064, 152028, 26098, 27968, 40932),
    good=lambda: Case(attn_mask=torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 0]]).bool()),
    bad=lambda: Case(attn_mask=torch.tensor([[0, 1, 1], [1, 1, 1], [0, 0, 0]]).bool()),
    remedy=opened,
    explained_by=("inverted-mask", "diagonal-masked", "inverted-padding", "integer-mask", "padding-transposed"),
)
def fully_masked_rows(case: Case) -> Iterator[Symptom]:
    """Find the empty rows that no other rule of this file tells of."""
    rows = _infinitely_empty(case)
    if rows is None:
        return
    left, items = _left_padded(case), _padding_items(case)
    if left is not None:
        rows = rows & ~left
    if items is not None:
        rows = rows & ~items[:, None, None]
    if rows.any():
        yield Symptom(
            "Some queries have every key hidden.",
            f"no key to look at for {_said(rows)}; {PATHS[case.api]}",
            wording.positions(rows),
            "error" if case.api == "mha" else "warning",
        )


@rule(
    "padded-queries",
    "note",
    "Padded queries still have weights",
    why="key_padding_mask hides keys, not queries: the rows of padded positions hold ordinary weights over the real "
    "keys. That is right, and hiding them too would make them NaN; leave them out of the loss and of any average.",
    pitfall="P12",
    issues=(34453, 41508),
    good=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 0]]).bool(), query_len=3, intent=mask("full")),
    bad=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 1]]).bool(), query_len=3, intent=mask("full")),
    advice="real = ~key_padding_mask  # [N, L]: keep these rows of the output, as in loss[real].mean()",
    explained_by=("all-padding", "inverted-padding", "padding-transposed", "left-padding-causal", "additive-padding"),
)
def padded_queries(case: Case) -> Iterator[Symptom]:
    """Find padding where queries and keys are as many, as in self-attention."""
    allowed = case.padding_allowed
    if allowed is None or case.sizes.queries != case.sizes.keys or allowed.all():
        return
    rows = ~allowed[:, :, 0]
    yield Symptom(
        "The padding mask hides padded keys; the rows of padded queries keep their weights.",
        f"in self-attention these rows mean nothing: {wording.rows(rows)}",
        wording.positions(rows),
    )
