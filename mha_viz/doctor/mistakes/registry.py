"""What a mistake is, the registry that finds it by name, and the parts of what was meant."""

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


def padding_of(meant: Meant) -> Tensor:
    """Return what `key_padding_mask` should allow, [N, S], where the mistake asks for one."""
    if meant.padding is None:
        raise ValueError("this mistake names no padding pattern")
    return meant.padding


def with_padding(meant: Meant, key_padding_mask: Tensor) -> Case:
    """Return the case with this padding mask, and without an `attn_mask` that would hide nothing."""
    attn = None if meant.attn.all() else ~meant.attn
    return meant.base.but(attn_mask=attn, key_padding_mask=key_padding_mask)


def float_mask(allowed: Tensor, hides: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the mask that is 0 where allowed and `hides` elsewhere."""
    return torch.zeros(allowed.shape, dtype=dtype).masked_fill_(~allowed, hides)


def float_masks(meant: Meant, hides: float, dtype: torch.dtype = torch.float32) -> dict[str, Tensor | None]:
    """Return both masks as floats, by the names of the arguments."""
    padding = None if meant.padding is None else float_mask(meant.padding, hides, dtype)
    return {"attn_mask": float_mask(meant.attn, hides, dtype), "key_padding_mask": padding}
