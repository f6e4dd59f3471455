"""Masks that say the opposite of what was meant: inverted, shifted by one, transposed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor import wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.findings import Severity
from mha_viz.doctor.reading import same, some
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.doctor.rules.fixes import turned
from mha_viz.masks import mask
from mha_viz.masks.encode import allowed_as_given

MEANS: dict[str, str] = {
    "mha": "in nn.MultiheadAttention True means 'do not look', the opposite of F.scaled_dot_product_attention",
    "sdpa": "in F.scaled_dot_product_attention True means 'may look', the opposite of nn.MultiheadAttention",
}
OTHER = {"mha": "F.scaled_dot_product_attention", "sdpa": "nn.MultiheadAttention"}
GUESS: Severity = "warning"
RESULT = {"mha": "NaN weights", "sdpa": "an output of zeros"}


def _sees_only_the_future(allowed: Tensor) -> bool:
    square = allowed.shape[-2] == allowed.shape[-1] > 1
    return square and _sees_others_only(allowed) and not some(allowed.tril()) and bool(some(allowed))


def _sees_only_the_past(allowed: Tensor) -> bool:
    return _sees_others_only(allowed) and not some(allowed.triu()) and bool(some(allowed))


def _sees_others_only(allowed: Tensor) -> bool:
    """Say whether the diagonal is hidden: quickly told, and false of almost every mask."""
    return not allowed.diagonal(dim1=-2, dim2=-1).any()


def _nothing(empty: Tensor, case: Case) -> str:
    many = int(empty.count_nonzero()) > 1
    return f"; {wording.rows(empty)} {'have' if many else 'has'} no key left, which gives {RESULT[case.api]}"


def _turn_attn(case: Case) -> Fix:
    assert case.attn_mask is not None
    return turned("attn_mask", case.attn_mask)


@rule(
    "inverted-mask",
    "error",
    "The mask hides what should be seen",
    why="A bool mask means opposite things in two functions of torch: True hides a key in nn.MultiheadAttention and "
    "shows it in F.scaled_dot_product_attention. Both accept either mask, and the picture still looks like attention. "
    "An inverted causal mask shows each query only its future; the last query sees nothing. Where no intent is given, "
    "a mask that is no known pattern, but exactly one when turned round, is a warning.",
    pitfall="P1",
    issues=(170400, 170415, 170404, 120668, 114083),
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), intent=mask("causal")),
    bad=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).tril(), intent=mask("causal")),
    remedy=_turn_attn,
    explained_by=("integer-mask",),
)
def inverted_mask(case: Case) -> Iterator[Symptom]:
    """Find the complement of the intent; without an intent what shows the future alone, or a pattern's complement."""
    allowed, wanted = case.attn_allowed, case.intended_attn
    if case.attn_mask is None or allowed is None:
        return
    message, against, severity = f"The mask is inverted: {MEANS[case.api]}.", "", None
    if wanted is not None:
        against = f"'{case.intents[0]}'" if same(allowed, ~wanted) else ""
    elif _sees_only_the_future(allowed):
        against = "a causal mask"
    elif case.looks_inverted:
        message, against, severity = _guessed(case, case.looks_inverted), f"'{case.looks_inverted}'", GUESS
    if not against:
        return
    empty = ~some(allowed, -1)
    evidence = f"every cell is the opposite of {against}; first seen: {wording.cells(allowed)}"
    if empty.any():
        evidence += _nothing(empty, case)
    yield Symptom(message, evidence, wording.positions(allowed), severity)


def _guessed(case: Case, pattern: str) -> str:
    assert case.attn_mask is not None
    if case.attn_mask.is_floating_point():
        return f"This looks like {pattern} turned round: in a float mask 0 means 'may look' and -inf 'do not look'."
    return f"This looks like {pattern} in the convention of {OTHER[case.api]}: {MEANS[case.api].split(',')[0]}."


def _without_diagonal(allowed: Tensor) -> Tensor:
    others = allowed.clone()
    others.diagonal(dim1=-2, dim2=-1).fill_(False)
    return others


def _with_diagonal(case: Case) -> Fix:
    raw = case.attn_mask
    assert raw is not None
    own = f"torch.eye({raw.shape[-1]}, dtype=torch.bool)"
    value: bool | float = 0.0 if raw.is_floating_point() else case.api == "sdpa"

    def apply(c: Case) -> Case:
        assert c.attn_mask is not None
        return c.but(attn_mask=c.attn_mask.masked_fill(torch.eye(c.attn_mask.shape[-1], dtype=torch.bool), value))

    return Fix(f"attn_mask = attn_mask.masked_fill({own}, {value})", apply)


@rule(
    "diagonal-masked",
    "error",
    "The diagonal is hidden: off by one",
    why="triu() without diagonal=1 includes the diagonal, so each query is hidden from itself as well as from its "
    "future. Everything moves by one position, and the first query has nothing left to look at.",
    pitfall="P1",
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), intent=mask("causal")),
    bad=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(), intent=mask("causal")),
    remedy=_with_diagonal,
)
def diagonal_masked(case: Case) -> Iterator[Symptom]:
    """Find a mask that is the intent without the diagonal, or that shows the strict past alone."""
    allowed, wanted = case.attn_allowed, case.intended_attn
    if case.attn_mask is None or allowed is None or not allowed.shape[-2] == allowed.shape[-1] > 1:
        return
    if wanted is None:
        off = _sees_only_the_past(allowed)
    else:
        lacking = not _sees_others_only(wanted)
        off = lacking and _sees_others_only(allowed) and same(allowed, _without_diagonal(wanted))
    if off:
        empty = ~some(allowed, -1)
        nothing = _nothing(empty, case) if empty.any() else ""
        length = allowed.shape[-1]
        yield Symptom(
            "No query sees itself: the diagonal is hidden, probably by triu() where triu(1) was meant.",
            f"all cells (query i, key i) for i from 0 to {length - 1} are hidden{nothing}",
            tuple((None, None, i, i) for i in range(min(8, length))),
        )


def _turn_padding(case: Case) -> Fix:
    assert case.key_padding_mask is not None
    return turned("key_padding_mask", case.key_padding_mask)


@rule(
    "inverted-padding",
    "error",
    "The padding mask hides the real tokens",
    why="key_padding_mask is True where a key is padding. Tokenizers give the opposite, an attention_mask that is 1 "
    "for a real token. Passed as it is, each sample attends to its padding alone, and a sample without padding has "
    "nothing to attend to: all its weights are NaN.",
    pitfall="P1",
    issues=(170400,),
    good=lambda: Case(key_padding_mask=torch.tensor([[False, False, False], [False, False, True]])),
    bad=lambda: Case(key_padding_mask=torch.tensor([[True, True, True], [True, True, False]])),
    remedy=_turn_padding,
    explained_by=("integer-mask", "padding-transposed"),
)
def inverted_padding(case: Case) -> Iterator[Symptom]:
    """Find a padding mask that is the complement of the intent, or that hides the longest samples altogether."""
    allowed = case.padding_allowed
    if allowed is None:
        return
    wanted, keys = case.intended_padding, allowed[:, 0, 0]
    if wanted is not None:
        if not same(allowed, ~wanted):
            return
        evidence = f"every cell is the opposite of '{case.intents[1]}'"
    else:
        none, every = ~keys.any(dim=-1), keys.all(dim=-1)
        if len(keys) < 2 or not none.any() or none.all() or every.any() or not _contiguous(keys):
            return
        items = none.nonzero()[:, 0].tolist()
        evidence = f"batch item {wording.spans(items)} has all its keys hidden, and no item has all its keys visible"
    yield Symptom(
        "The padding mask is inverted: True means padding, so here the real tokens are hidden.",
        evidence,
        wording.positions(allowed),
    )


def _contiguous(keys: Tensor) -> bool:
    """Say whether the visible keys of every row are one run at its start, or every row's one run at its end."""
    steps = keys.to(torch.int8).diff(dim=-1)
    return bool((steps <= 0).all() or (steps >= 0).all())


def _transpose_padding(case: Case) -> Fix:
    def apply(c: Case) -> Case:
        assert c.key_padding_mask is not None
        return c.but(key_padding_mask=c.key_padding_mask.T)

    return Fix("key_padding_mask = key_padding_mask.T", apply)


@rule(
    "padding-transposed",
    "error",
    "The padding mask is transposed",
    why="key_padding_mask is (N, S) whatever batch_first says: one row for each sample, also where the query is "
    "(L, N, E). A mask of shape (S, N) raises an error, unless N = S: then nothing complains, and each sample is given "
    "another one's padding.",
    pitfall="P18",
    issues=(63560,),
    good=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]]).bool(), batch_size=2, key_len=4),
    bad=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1]]).bool().T, batch_size=2, key_len=4),
    remedy=_transpose_padding,
)
def padding_transposed(case: Case) -> Iterator[Symptom]:
    """Find (S, N) where (N, S) is expected, by shape, or for N = S by the intent or by what padding looks like."""
    raw, size = case.key_padding_mask, case.sizes
    if raw is None or raw.dim() != 2 or size.batch is None or size.keys is None:
        return
    message = f"key_padding_mask must be (N, S) = ({size.batch}, {size.keys}): one row for each batch item."
    if tuple(raw.shape) == (size.keys, size.batch) and size.batch != size.keys:
        yield Symptom(message, f"it is {tuple(raw.shape)}, the transpose of that")
    elif raw.shape[0] == raw.shape[1] > 1 and raw.shape[0] == size.batch == size.keys and _reads_better_turned(case):
        evidence = f"its shape {tuple(raw.shape)} fits either way, but only its columns look like samples"
        yield Symptom(message, f"{evidence}: in each, the padding is one run at an end")


def _reads_better_turned(case: Case) -> bool:
    assert case.key_padding_mask is not None
    wanted, rows = case.intended_padding, allowed_as_given(case.key_padding_mask)
    if wanted is not None and case.padding_allowed is not None:
        own, turned_round = case.padding_allowed[:, 0, 0], case.padding_allowed[:, 0, 0].T
        return not same(own, wanted[:, 0, 0]) and same(turned_round, wanted[:, 0, 0])
    return not _contiguous(rows) and _contiguous(rows.T)
