"""Ways in which people build a mask wrongly: the code they write, and the case that comes of it.

mistake = MISTAKES["inverted"]
case = mistake.build(Sizes(batch=2, heads=4, queries=6, keys=6), mask("causal"))
examine(case)  # finds mistake.rule
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.doctor.case import Case
from mha_viz.doctor.reading import Sizes, split
from mha_viz.masks import PATTERNS
from mha_viz.masks.base import Mask
from mha_viz.masks.encode import Api, as_given

LOWEST = torch.finfo(torch.float32).min


@dataclass(frozen=True)
class Mistake:
    """One way to build a mask wrongly.

    Attributes:
        name: Stable, such as `float-ones`.
        title: A few words.
        pitfall: P1 to P18.
        rule: Id of the rule that finds it.
        intent: Text of a mask that shows it, for N = 2 and S = 6.
        code: What people write for that intent, over torch, N, H, L and S (and lengths, the real lengths).
        build: Makes the case from the four sizes and what is meant, with the same mistake in it. Where a padding mask
            is the mistake and the intent names no padding, batch item n has n keys of padding. Some mistakes do no
            harm to some intents, and are not found there: a mask of -inf for finfo.min in rows that all see a key.
    """

    name: str
    title: str
    pitfall: str
    rule: str
    intent: str
    code: str
    build: Callable[[Sizes, Mask], Case]


MISTAKES: dict[str, Mistake] = {}


@dataclass(frozen=True)
class Meant:
    """What was meant, taken apart.

    Attributes:
        base: The case without masks.
        attn: What `attn_mask` should allow, [L, S], [N * H, L, S], or for SDPA [N, H, L, S].
        padding: What `key_padding_mask` should allow, [N, S]; None where the intent names no padding.
    """

    base: Case
    attn: Tensor
    padding: Tensor | None

    @property
    def right(self) -> Case:
        """The case with bool masks as they should be."""
        return self.base.but(
            attn_mask=as_given(self.attn, self.base.api),
            key_padding_mask=None if self.padding is None else as_given(self.padding),
        )


def mistake(
    name: str,
    title: str,
    *,
    pitfall: str,
    rule: str,
    code: str,
    intent: str = "causal",
    pads: str = "",
    api: Api = "mha",
) -> Callable[[Callable[[Meant], Case]], Mistake]:
    """Return the decorator that files a way to make a wrong case of what was meant; `pads` names a padding pattern."""

    def register(make: Callable[[Meant], Case]) -> Mistake:
        def build(sizes: Sizes, meant: Mask) -> Case:
            return make(_taken_apart(sizes, meant, pads, api))

        MISTAKES[name] = Mistake(name, title, pitfall, rule, intent, code, build)
        return MISTAKES[name]

    return register


def _taken_apart(sizes: Sizes, intent: Mask, pads: str, api: Api) -> Meant:
    n, h, queries, keys = (size or 1 for size in sizes)
    if pads and split(intent)[1] is None:
        intent = intent & PATTERNS[pads](*(max(1, keys - item) for item in range(n)))
    for_attn, for_keys = split(intent)
    base = Case(batch_size=n, num_heads=h, query_len=queries, key_len=keys, intent=intent, api=api)
    whole = PATTERNS["full"]() if for_attn is None else for_attn
    allowed = whole.allowed(queries, keys, batch_size=n, num_heads=h)
    if allowed.dim() > 2:
        allowed = allowed.expand(n, h, -1, -1)
        allowed = allowed if api == "sdpa" else allowed.flatten(0, 1)
    padding = None
    if for_keys is not None:
        padding = for_keys.allowed(1, keys, batch_size=n, num_heads=h)[:, 0, 0]
    return Meant(base, allowed, padding)


@mistake(
    "inverted",
    "True where the query may look",
    pitfall="P1",
    rule="inverted-mask",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).tril()",
)
def _inverted(meant: Meant) -> Case:
    return meant.right.but(attn_mask=meant.attn)


@mistake(
    "inverted-sdpa",
    "True where the query may not look, for scaled_dot_product_attention",
    pitfall="P1",
    rule="inverted-mask",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).triu(1)",
    api="sdpa",
)
def _inverted_sdpa(meant: Meant) -> Case:
    return meant.base.but(attn_mask=~meant.attn)


@mistake(
    "float-ones",
    "Ones that should hide, as floats",
    pitfall="P2",
    rule="additive-ones",
    code="attn_mask = torch.triu(torch.ones(L, S), diagonal=1)",
)
def _float_ones(meant: Meant) -> Case:
    return meant.right.but(attn_mask=(~meant.attn).float())


@mistake(
    "float-ones-kept",
    "Ones that should keep, as floats",
    pitfall="P2",
    rule="additive-ones",
    code="attn_mask = torch.tril(torch.ones(L, S))",
)
def _float_ones_kept(meant: Meant) -> Case:
    return meant.right.but(attn_mask=meant.attn.float())


@mistake(
    "float-padding",
    "A padding mask turned into floats",
    pitfall="P2",
    rule="additive-padding",
    code="key_padding_mask = (torch.arange(S) >= lengths[:, None]).float()",
    intent="padding(6, 4)",
    pads="padding",
)
def _float_padding(meant: Meant) -> Case:
    return _with_padding(meant, (~_padding(meant)).float())


@mistake(
    "nan-builder",
    "Zero times minus infinity",
    pitfall="P2",
    rule="nan-in-mask",
    code='attn_mask = torch.triu(torch.ones(L, S), diagonal=1) * float("-inf")',
)
def _nan_builder(meant: Meant) -> Case:
    return meant.right.but(attn_mask=(~meant.attn).float() * -torch.inf)


@mistake(
    "off-by-one",
    "triu() without diagonal=1",
    pitfall="P4",
    rule="diagonal-masked",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).triu()",
)
def _off_by_one(meant: Meant) -> Case:
    own = torch.eye(*meant.attn.shape[-2:], dtype=torch.bool)
    return meant.right.but(attn_mask=~(meant.attn & ~own))


@mistake(
    "byte-mask",
    "A mask of bytes",
    pitfall="P3",
    rule="integer-mask",
    code="attn_mask = torch.ones(L, S, dtype=torch.uint8).triu(1)",
)
def _byte_mask(meant: Meant) -> Case:
    return meant.right.but(attn_mask=(~meant.attn).to(torch.uint8))


@mistake(
    "float64-mask",
    "A mask from NumPy, in float64",
    pitfall="P3",
    rule="float-dtype",
    code="attn_mask = torch.from_numpy(np.triu(np.full((L, S), -np.inf), 1))",
)
def _float64_mask(meant: Meant) -> Case:
    return meant.base.but(**_floats(meant, -torch.inf, torch.float64))


@mistake(
    "all-padding",
    "A batch item without a token",
    pitfall="P4",
    rule="all-padding",
    code="key_padding_mask = torch.arange(S) >= torch.tensor([[S], [0]])",
    intent="padding(6, 0)",
    pads="padding",
)
def _all_padding(meant: Meant) -> Case:
    real = _padding(meant).clone()
    real[-1] = False
    return _with_padding(meant, ~real)


@mistake(
    "left-padding",
    "Left padding with a causal mask",
    pitfall="P4",
    rule="left-padding-causal",
    code="attn_mask = torch.ones(L, S, dtype=torch.bool).triu(1)\n"
    "key_padding_mask = torch.arange(S) < S - lengths[:, None]",
    intent="causal & left_padding(6, 4)",
    pads="left_padding",
)
def _left_padding(meant: Meant) -> Case:
    return meant.right


@mistake(
    "lowest-number",
    "finfo.min in place of -inf, with left padding",
    pitfall="P5",
    rule="uniform-rows",
    code="lowest = torch.finfo(torch.float32).min\n"
    "attn_mask = torch.full((L, S), lowest).triu(1)\n"
    "key_padding_mask = (torch.arange(S) < S - lengths[:, None]) * lowest",
    intent="causal & left_padding(6, 4)",
    pads="left_padding",
)
def _lowest_number(meant: Meant) -> Case:
    return meant.base.but(**_floats(meant, LOWEST))


@mistake(
    "minus-ten",
    "-10 in place of -inf",
    pitfall="P2",
    rule="finite-penalty",
    code="attn_mask = torch.full((L, S), -10.0).triu(1)",
)
def _minus_ten(meant: Meant) -> Case:
    return meant.base.but(**_floats(meant, -10.0))


@mistake(
    "minus-ten-thousand",
    "-10000 in place of -inf",
    pitfall="P5",
    rule="finite-penalty",
    code="attn_mask = torch.full((L, S), -10000.0).triu(1)",
)
def _minus_ten_thousand(meant: Meant) -> Case:
    return meant.base.but(**_floats(meant, -10000.0))


@mistake(
    "mixed-types",
    "One mask in floats, the other in bools",
    pitfall="P6",
    rule="mixed-dtypes",
    code="attn_mask = torch.nn.Transformer.generate_square_subsequent_mask(L)\n"
    "key_padding_mask = torch.arange(S) >= lengths[:, None]",
    intent="causal & padding(6, 4)",
    pads="padding",
)
def _mixed_types(meant: Meant) -> Case:
    return meant.right.but(attn_mask=_float(meant.attn, -torch.inf))


@mistake(
    "repeat",
    "repeat where repeat_interleave was meant",
    pitfall="P7",
    rule="repeat-order",
    code="padding = torch.arange(S) >= lengths[:, None]\n"
    "causal = torch.ones(L, S, dtype=torch.bool).triu(1)\n"
    "attn_mask = (causal | padding[:, None, :]).repeat(H, 1, 1)",
    intent="causal & padding(6, 4)",
    pads="padding",
)
def _repeat(meant: Meant) -> Case:
    n, h, queries, keys = (size or 1 for size in meant.base.sizes)
    items = meant.attn.expand(n * h, queries, keys)[::h] & _padding(meant)[:, None, :]
    return meant.base.but(attn_mask=~items.repeat(h, 1, 1))


@mistake(
    "batch-first",
    "batch_first left at its default",
    pitfall="P8",
    rule="batch-first",
    code="key_padding_mask = torch.arange(S) >= lengths[:, None]\nbatch_first = False",
    intent="padding(6, 4)",
    pads="padding",
)
def _batch_first(meant: Meant) -> Case:
    n, _, queries, _ = (size or 1 for size in meant.base.sizes)
    attn = None if meant.attn.all() else ~meant.attn
    return meant.right.but(attn_mask=attn, query_shape=(n, queries, 64), batch_first=False)


@mistake(
    "hint-alone",
    "is_causal=True and no mask",
    pitfall="P9",
    rule="causal-hint-alone",
    code="is_causal = True",
)
def _hint_alone(meant: Meant) -> Case:
    return meant.right.but(attn_mask=None, is_causal=True)


@mistake(
    "hint-against-mask",
    "is_causal=True beside another mask",
    pitfall="P9",
    rule="causal-hint-against-mask",
    code="q, k = torch.arange(L)[:, None], torch.arange(S)\nattn_mask = (q - k).abs() > 2\nis_causal = True",
    intent="window(2)",
)
def _hint_against_mask(meant: Meant) -> Case:
    return meant.right.but(is_causal=True)


@mistake(
    "mask-and-hint",
    "attn_mask and is_causal=True, for scaled_dot_product_attention",
    pitfall="P10",
    rule="causal-and-mask",
    code="q, k = torch.arange(L)[:, None], torch.arange(S)\nattn_mask = (q - k).abs() <= 2\nis_causal = True",
    intent="causal & window(2)",
    api="sdpa",
)
def _mask_and_hint(meant: Meant) -> Case:
    future = torch.ones(meant.attn.shape[-2:], dtype=torch.bool).triu(1)
    mirrored = meant.attn.mT if meant.attn.shape[-1] == meant.attn.shape[-2] else meant.attn
    return meant.base.but(attn_mask=meant.attn | (mirrored & future), is_causal=True)


@mistake(
    "padding-inverted",
    "A tokenizer's attention mask as key_padding_mask",
    pitfall="P1",
    rule="inverted-padding",
    code="attention_mask = (torch.arange(S) < lengths[:, None]).int()\nkey_padding_mask = attention_mask.bool()",
    intent="padding(6, 4)",
    pads="padding",
)
def _padding_inverted(meant: Meant) -> Case:
    return _with_padding(meant, _padding(meant))


@mistake(
    "padding-transposed",
    "A padding mask of shape (S, N)",
    pitfall="P18",
    rule="padding-transposed",
    code="key_padding_mask = torch.arange(S)[:, None] >= lengths",
    intent="padding(6, 4)",
    pads="padding",
)
def _padding_transposed(meant: Meant) -> Case:
    return _with_padding(meant, ~_padding(meant).T)


def _padding(meant: Meant) -> Tensor:
    """Return what `key_padding_mask` should allow, [N, S], where the mistake asks for one."""
    if meant.padding is None:
        raise ValueError("this mistake names no padding pattern")
    return meant.padding


def _with_padding(meant: Meant, key_padding_mask: Tensor) -> Case:
    """Return the case with this padding mask, and without an `attn_mask` that would hide nothing."""
    attn = None if meant.attn.all() else ~meant.attn
    return meant.base.but(attn_mask=attn, key_padding_mask=key_padding_mask)


def _float(allowed: Tensor, hides: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, hides)


def _floats(meant: Meant, hides: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor | None]:
    padding = None if meant.padding is None else _float(meant.padding, hides, dtype)
    return {"attn_mask": _float(meant.attn, hides, dtype), "key_padding_mask": padding}
