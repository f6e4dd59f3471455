"""is_causal: a hint to one function, a mask to the other, and aligned to one corner."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor import reading, wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.findings import Severity
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.masks.encode import as_given


def _built(case: Case) -> Fix:
    queries, keys = case.sizes.queries or "query_len", case.sizes.keys or "key_len"

    def apply(c: Case) -> Case:
        length, width = c.sizes.queries or 1, c.sizes.keys or 1
        return c.but(attn_mask=torch.ones(length, width, dtype=torch.bool).triu(1))

    return Fix(f"attn_mask = torch.ones({queries}, {keys}, dtype=torch.bool).triu(1)", apply)


@rule(
    "causal-hint-alone",
    "error",
    "is_causal=True without a mask",
    why="In nn.MultiheadAttention is_causal is a hint that attn_mask is causal, not a mask. Without attn_mask it "
    "raises an error in training; in eval mode under no_grad (batch_first, an even number of heads, self-attention) "
    "it is dropped without a word, and every query sees its future.",
    pitfall="P9",
    issues=(99282, 118972, 100709),
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), is_causal=True),
    bad=lambda: Case(is_causal=True, query_len=4, key_len=4),
    remedy=_built,
)
def causal_hint_alone(case: Case) -> Iterator[Symptom]:
    """Find is_causal without attn_mask in nn.MultiheadAttention."""
    if case.is_causal and case.attn_mask is None and case.api == "mha":
        yield Symptom(
            "is_causal=True masks nothing by itself: nn.MultiheadAttention needs the causal attn_mask as well.",
            "is_causal is True and attn_mask is None: an error in training, no mask at all in eval under no_grad",
        )


def _is_causal(allowed: Tensor) -> bool:
    """Say whether a mask is exactly causal, aligned top left."""
    queries, keys = allowed.shape[-2:]
    return reading.same(allowed, torch.ones(1, 1, queries, keys, dtype=torch.bool).tril())


def _without_hint(case: Case) -> Fix:
    return Fix("is_causal = False", lambda c: c.but(is_causal=False))


@rule(
    "causal-hint-against-mask",
    "error",
    "is_causal=True beside a mask that is not causal",
    why="is_causal promises that attn_mask is exactly the causal mask. Where it is not, nn.MultiheadAttention obeys "
    "one or the other: attn_mask with need_weights=True, and the hint with need_weights=False in training, which drops "
    "attn_mask. The same layer then computes two different things. It is harmless only as long as key_padding_mask is "
    "given too, because the hint is then ignored.",
    pitfall="P9",
    issues=(99282, 131254, 172338),
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), is_causal=True),
    bad=lambda: Case(attn_mask=torch.zeros(4, 4, dtype=torch.bool), is_causal=True),
    remedy=_without_hint,
    explained_by=("inverted-mask", "diagonal-masked", "additive-ones", "integer-mask"),
)
def causal_hint_against_mask(case: Case) -> Iterator[Symptom]:
    """Find is_causal beside another mask in nn.MultiheadAttention."""
    allowed = case.attn_allowed
    if not case.is_causal or case.attn_mask is None or allowed is None or case.api == "sdpa":
        return
    if _is_causal(allowed):
        return
    other = allowed ^ torch.ones(allowed.shape[-2:], dtype=torch.bool).tril()
    yield Symptom(
        "is_causal=True, but attn_mask is not the causal mask: which of the two counts depends on the call.",
        f"{int(other.count_nonzero())} cells differ from the causal mask: {wording.cells(other)}",
        wording.positions(other),
        "error" if case.key_padding_mask is None else "warning",
    )


def _both(case: Case) -> Fix:
    raw = case.attn_mask
    assert raw is not None
    if case.attn_allowed is None:
        return Fix("# give attn_mask a shape that torch takes, and hide the future in it", lambda c: c)
    queries, keys = case.sizes.queries or 1, case.sizes.keys or 1
    causal = f"torch.ones({queries}, {keys}, dtype=torch.bool).tril()"
    floats = raw.is_floating_point()
    code = f"attn_mask.masked_fill(~{causal}, -torch.inf)" if floats else f"attn_mask & {causal}"

    def apply(c: Case) -> Case:
        assert c.attn_mask is not None
        past = torch.ones(queries, keys, dtype=torch.bool).tril()
        made = c.attn_mask.masked_fill(~past, -torch.inf) if floats else c.attn_mask & past
        return c.but(attn_mask=made, is_causal=False)

    return Fix(f"attn_mask = {code}\nis_causal = False", apply)


@rule(
    "causal-and-mask",
    "warning",
    "attn_mask and is_causal=True together",
    why="The documentation of F.scaled_dot_product_attention says that setting both is an error. Older versions of "
    "torch raise it; newer ones on the CPU hide what either of them hides. Say it in one mask instead.",
    pitfall="P10",
    issues=(187801,),
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).tril(), api="sdpa"),
    bad=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool), is_causal=True, api="sdpa"),
    remedy=_both,
)
def causal_and_mask(case: Case) -> Iterator[Symptom]:
    """Find both in F.scaled_dot_product_attention."""
    if case.is_causal and case.attn_mask is not None and case.api == "sdpa":
        yield Symptom(
            "F.scaled_dot_product_attention is documented to refuse attn_mask together with is_causal=True.",
            f"attn_mask of shape {tuple(case.attn_mask.shape)} and is_causal=True were both given",
        )


def _bottom_right(case: Case) -> Fix:
    queries, keys = case.sizes.queries or 1, case.sizes.keys or 1
    sdpa = case.api == "sdpa"
    edge = f"tril({keys - queries})" if sdpa else f"triu({keys - queries + 1})"
    code = f"attn_mask = torch.ones({queries}, {keys}, dtype=torch.bool).{edge}"

    def apply(c: Case) -> Case:
        allowed = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
        return c.but(attn_mask=as_given(allowed, c.api), is_causal=False)

    return Fix(f"{code}\nis_causal = False", apply)


@rule(
    "causal-alignment",
    "warning",
    "A causal mask aligned to the wrong corner",
    why="With fewer queries than keys, as in decoding with a key-value cache, the last query is the newest token and "
    "should see every key. is_causal=True and tril() align to the top left instead: query 0 sees key 0 alone. "
    "torch.nn.attention.bias.causal_lower_right aligns to the bottom right.",
    pitfall="P11",
    issues=(103082,),
    good=lambda: Case(attn_mask=torch.ones(2, 5, dtype=torch.bool).tril(3), api="sdpa"),
    bad=lambda: Case(is_causal=True, query_len=2, key_len=5, api="sdpa"),
    remedy=_bottom_right,
    explained_by=("causal-hint-alone", "inverted-mask"),
)
def causal_alignment(case: Case) -> Iterator[Symptom]:
    """Find a top-left causal mask where L < S, unless it is the intent."""
    queries, keys = case.sizes.queries, case.sizes.keys
    if queries is None or keys is None or queries >= keys:
        return
    hint = case.is_causal and case.attn_mask is None and case.api == "sdpa"
    explicit = case.attn_mask is not None and case.attn_allowed is not None and _is_causal(case.attn_allowed)
    if not (hint or explicit):
        return
    wanted = case.intended_attn
    corner = torch.ones(1, 1, queries, keys, dtype=torch.bool).tril(keys - queries)
    told = wanted is not None and reading.same(wanted, corner)
    if wanted is not None and not told:
        return
    severity: Severity = "error" if told else "warning" if hint else "note"
    yield Symptom(
        "The causal mask is aligned top left: the last query does not see the last keys.",
        f"L = {queries}, S = {keys}: query 0 sees key 0 only, query {queries - 1} sees keys 0 to {queries - 1}",
        ((None, None, queries - 1, keys - 1),),
        severity,
    )
