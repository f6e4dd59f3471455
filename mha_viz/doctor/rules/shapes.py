"""Shapes that torch refuses, or takes for something else."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor.case import Case
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.doctor.rules.fixes import hiding
from mha_viz.masks.encode import as_given


def _attempts(raw: Tensor, case: Case) -> Iterator[tuple[str, str, Tensor]]:
    """Yield what a mask of a wrong shape may have been meant as: in words, as code, and done."""
    n, h, queries, keys = case.sizes
    shape = tuple(raw.shape)
    if shape == (keys, queries):
        yield "it is the transpose, (S, L)", "attn_mask = attn_mask.T", raw.T
    if shape == (1, queries, keys):
        yield "one mask for all is (L, S)", "attn_mask = attn_mask[0]", raw[0]
    if n and h and case.api == "mha":
        if shape == (n, queries, keys):
            code = f"attn_mask = attn_mask.repeat_interleave({h}, 0)"
            yield f"one mask a batch item has to be repeated for its {h} heads", code, raw.repeat_interleave(h, 0)
        if shape == (h, queries, keys):
            code = f"attn_mask = attn_mask.repeat({n}, 1, 1)"
            yield f"one mask a head has to be repeated for the {n} batch items", code, raw.repeat(n, 1, 1)
        if raw.dim() == 4 and raw.shape[0] in (1, n) and raw.shape[1] in (1, h) and shape[2:] == (queries, keys):
            code = f"attn_mask = attn_mask.expand({n}, {h}, -1, -1).flatten(0, 1)"
            yield "batch and heads are one dimension, n * H + h", code, raw.expand(n, h, -1, -1).flatten(0, 1)
    if case.api == "sdpa" and shape == (keys,):
        yield "it needs a dimension for the queries", "attn_mask = attn_mask[None]", raw[None]
    if n and h and case.api == "sdpa":
        if shape == (n, queries, keys):
            yield "it needs a dimension for the heads", "attn_mask = attn_mask[:, None]", raw[:, None]
        if shape == (n * h, queries, keys):
            code = f"attn_mask = attn_mask.unflatten(0, ({n}, {h}))"
            yield "batch and heads are two dimensions", code, raw.unflatten(0, (n, h))


def _reshaped(case: Case) -> Fix:
    assert case.attn_mask is not None
    for _, code, _ in _attempts(case.attn_mask, case):
        return Fix(code, _reshape)
    n, h, queries, keys = (size or name for size, name in zip(case.sizes, "NHLS", strict=True))
    wanted = f"({queries}, {keys})" if case.api == "mha" else f"({n}, {h}, {queries}, {keys})"
    return Fix(f"# build attn_mask with the shape {wanted}", lambda c: c)


def _reshape(case: Case) -> Case:
    assert case.attn_mask is not None
    return case.but(attn_mask=next(_attempts(case.attn_mask, case))[2])


def _fits(raw: Tensor, case: Case) -> bool:
    n, h, queries, keys = case.sizes
    if case.api == "sdpa":
        wanted = (n, h, queries, keys)[4 - min(raw.dim(), 4) :]
        return 2 <= raw.dim() <= 4 and all(
            size in (1, want) or want is None for size, want in zip(raw.shape, wanted, strict=True)
        )
    known = raw.dim() in (2, 3) and tuple(raw.shape[-2:]) == (queries, keys)
    if raw.dim() == 2 or not known:
        return known
    return n is None or h is None or len(raw) == n * h


def _wanted(case: Case) -> str:
    n, h, queries, keys = (size or name for size, name in zip(case.sizes, "NHLS", strict=True))
    if case.api == "sdpa":
        return f"broadcast to (N, H, L, S) = ({n}, {h}, {queries}, {keys})"
    many = n * h if isinstance(n, int) and isinstance(h, int) else "N * H"
    return f"be (L, S) = ({queries}, {keys}) or (N * H, L, S) = ({many}, {queries}, {keys})"


@rule(
    "mask-shape",
    "error",
    "attn_mask has a shape that torch refuses",
    why="nn.MultiheadAttention takes exactly (L, S), or (N * H, L, S) with index n * H + h; it does not broadcast. "
    "F.scaled_dot_product_attention takes whatever has two dimensions or more and broadcasts to (N, H, L, S). The "
    "columns that add_bias_kv and add_zero_attn append are not part of the mask.",
    pitfall="P7",
    issues=(64706, 28884, 29520, 116472),
    good=lambda: Case(attn_mask=torch.zeros(4, 3, 5).bool(), batch_size=2, num_heads=2, query_len=3, key_len=5),
    bad=lambda: Case(attn_mask=torch.zeros(2, 3, 5).bool(), batch_size=2, num_heads=2, query_len=3, key_len=5),
    remedy=_reshaped,
)
def mask_shape(case: Case) -> Iterator[Symptom]:
    """Find an `attn_mask` that does not fit the sizes."""
    raw = case.attn_mask
    if raw is None or _fits(raw, case):
        return
    hint = next((f": {words}" for words, _, _ in _attempts(raw, case)), "")
    n, _, queries, keys = case.sizes
    if not hint and tuple(raw.shape) == (n, keys) and n != queries:
        hint = ": (N, S) is the shape of a key_padding_mask"
    yield Symptom(f"attn_mask must {_wanted(case)}.", f"its shape is {tuple(raw.shape)}{hint}")


def _padding_reshaped(case: Case) -> Fix:
    raw, n, keys = case.key_padding_mask, case.sizes.batch, case.sizes.keys
    assert raw is not None
    if _unbatched(case):
        return Fix(f"# build key_padding_mask with the shape ({keys or 'S'},)", lambda c: c)
    if n and tuple(raw.shape) == (keys,):
        code = f"key_padding_mask = key_padding_mask.expand({n}, -1)"
        return Fix(code, lambda c: c.but(key_padding_mask=raw.expand(n, -1)))
    if n and keys and raw.dim() > 2 and raw.numel() == n * keys:
        code = f"key_padding_mask = key_padding_mask.reshape({n}, {keys})"
        return Fix(code, lambda c: c.but(key_padding_mask=raw.reshape(n, keys)))
    return Fix(f"# build key_padding_mask with the shape ({n or 'N'}, {keys or 'S'})", lambda c: c)


def _unbatched(case: Case) -> bool:
    return case.query_shape is not None and len(case.query_shape) == 2


@rule(
    "padding-shape",
    "error",
    "key_padding_mask has a shape that torch refuses",
    why="key_padding_mask is (N, S), one row for each batch item, in both layouts of the inputs; only for an unbatched "
    "query of shape (L, E) it is (S).",
    pitfall="P18",
    good=lambda: Case(key_padding_mask=torch.zeros(2, 5).bool(), batch_size=2, key_len=5),
    bad=lambda: Case(key_padding_mask=torch.zeros(2, 1, 1, 5).bool(), batch_size=2, key_len=5),
    remedy=_padding_reshaped,
    explained_by=("padding-transposed",),
)
def padding_shape(case: Case) -> Iterator[Symptom]:
    """Find a `key_padding_mask` that is not (N, S)."""
    raw, n, keys = case.key_padding_mask, case.sizes.batch, case.sizes.keys
    if raw is None:
        return
    if _unbatched(case):
        wanted, fits = f"(S) = ({keys or 'S'}), because the query is unbatched", tuple(raw.shape) == (keys,)
    else:
        wanted = f"(N, S) = ({n or 'N'}, {keys or 'S'})"
        fits = tuple(raw.shape) == (n or 1, keys) or (raw.dim() == 1 and (n or 1) == 1 and len(raw) == keys)
    if not fits:
        yield Symptom(f"key_padding_mask must be {wanted}.", f"its shape is {tuple(raw.shape)}")


@rule(
    "square-padding",
    "note",
    "The batch is as large as the sequence is long",
    why="With N = S a key_padding_mask and its transpose have the same shape, so no error would tell them apart. Try "
    "the call once with a batch of another size.",
    pitfall="P18",
    good=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 1], [0, 0, 0]]).bool()),
    bad=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 1], [0, 0, 0], [0, 1, 1]]).bool()),
    advice="assert key_padding_mask.shape == (batch_size, key_len)  # with batch_size != key_len",
    explained_by=("padding-transposed",),
)
def square_padding(case: Case) -> Iterator[Symptom]:
    """Find N = S."""
    raw = case.key_padding_mask
    if raw is not None and raw.dim() == 2 and raw.shape[0] == raw.shape[1] > 1:
        yield Symptom(
            "key_padding_mask is square, so its shape can't tell batch items from keys.",
            f"N = S = {len(raw)}; its rows are read as batch items",
        )


@rule(
    "heads-unknown",
    "note",
    "The order of a three-dimensional mask needs the number of heads",
    why="attn_mask[i] belongs to batch item i // H and head i % H, so without H its slices can't be told apart.",
    pitfall="P7",
    good=lambda: Case(attn_mask=torch.zeros(4, 3, 3).bool(), num_heads=2),
    bad=lambda: Case(attn_mask=torch.zeros(4, 3, 3).bool()),
    advice="num_heads = 8  # pass it to check: check(attn_mask, num_heads=num_heads)",
)
def heads_unknown(case: Case) -> Iterator[Symptom]:
    """Find a mask of (N * H, L, S) with neither N nor H known."""
    raw, size = case.attn_mask, case.sizes
    if raw is not None and raw.dim() == 3 and case.api == "mha" and (size.batch is None or size.heads is None):
        yield Symptom(
            "attn_mask has three dimensions, and the number of heads is not known: its rows were not checked.",
            f"its first dimension {len(raw)} is N * H, with index n * H + h",
        )


def _merged(case: Case) -> Fix:
    raw, n, h, queries, keys = case.key_padding_mask, *case.sizes
    assert raw is not None
    if case.padding_allowed is None or (case.attn_mask is not None and case.attn_allowed is None):
        wanted = f"({n or 'N'}, {h or 'H'}, {queries or 'L'}, {keys or 'S'})"
        return Fix(f"# build attn_mask with the shape {wanted}, without key_padding_mask", lambda c: c)
    hidden = hiding(case)[0] + ("[None, :]" if raw.dim() == 1 else "[:, None, None, :]")
    if case.attn_mask is None:
        code = f"attn_mask = ~{hidden}"
    elif case.attn_mask.is_floating_point():
        code = f"attn_mask = attn_mask.masked_fill({hidden}, -torch.inf)"
    else:
        code = f"attn_mask = attn_mask & ~{hidden}"

    def apply(c: Case) -> Case:
        told = hiding(c)[1]
        hides = told[None, :] if told.dim() == 1 else told[:, None, None, :]
        mask = c.attn_mask
        if mask is None:
            merged = as_given(~hides, "sdpa")
        elif mask.is_floating_point():
            merged = mask.masked_fill(hides, -torch.inf)
        else:
            merged = mask & ~hides
        return c.but(attn_mask=merged, key_padding_mask=None)

    return Fix(f"{code}\nkey_padding_mask = None", apply)


@rule(
    "padding-with-sdpa",
    "error",
    "F.scaled_dot_product_attention has no key_padding_mask",
    why="F.scaled_dot_product_attention takes one mask only. Padding goes into it, with a dimension for heads and one "
    "for queries, and the other way round: True means 'may look' there.",
    pitfall="P1",
    issues=(170400,),
    good=lambda: Case(attn_mask=torch.tensor([[1, 1, 1], [1, 1, 0]]).bool()[:, None, None], api="sdpa", query_len=3),
    bad=lambda: Case(key_padding_mask=torch.tensor([[0, 0, 0], [0, 0, 1]]).bool(), api="sdpa", query_len=3),
    remedy=_merged,
)
def padding_with_sdpa(case: Case) -> Iterator[Symptom]:
    """Find a `key_padding_mask` beside api="sdpa"."""
    if case.key_padding_mask is not None and case.api == "sdpa":
        yield Symptom(
            "F.scaled_dot_product_attention takes no key_padding_mask: it has to be merged into attn_mask.",
            f"a key_padding_mask of shape {tuple(case.key_padding_mask.shape)} was given",
        )
