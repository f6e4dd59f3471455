"""Raw masks as facts: their sizes, their numbers, and what they are meant to allow.

Whatever the size of a mask, only bool tensors of that size are made; numbers are read in blocks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mha_viz.masks.base import Combination, Mask, combine
from mha_viz.masks.encode import allowed_as_given

if TYPE_CHECKING:
    from mha_viz.doctor.case import Case

# They stay in the cache; from 2**15 on torch would share the work among threads, which wait for each other.
BLOCK_CELLS = 2**15 - 1
# A number this low is meant to hide a key: its exponential is zero in every floating type.
HIDES = -1000.0


class Sizes(NamedTuple):
    """The four sizes of a call; None where unknown."""

    batch: int | None
    heads: int | None
    queries: int | None
    keys: int | None


@dataclass(frozen=True)
class Values:
    """The numbers in a floating mask.

    Attributes:
        nans: How many are NaN.
        plus_infinities: How many are +inf.
        minus_infinities: How many are -inf.
        low: The smallest finite number; 0 where none is finite.
        high: The largest finite number; 0 where none is finite.
        two_valued: Whether every finite number is `low` or `high`.
    """

    nans: int
    plus_infinities: int
    minus_infinities: int
    low: float
    high: float
    two_valued: bool

    @property
    def ones(self) -> bool:
        """Whether it consists of 0 and 1, with at least one 1: a 0/1 mask in a type that is added."""
        whole = not (self.nans or self.plus_infinities or self.minus_infinities)
        return whole and self.two_valued and self.high == 1 and self.low in (0, 1)

    @property
    def penalty(self) -> float | None:
        """The finite number that stands in for -inf: at or below -1 beside 0 alone, or at or below `HIDES`.

        One number everywhere is added to whole rows, which changes nothing: only a low one is meant to hide.
        """
        beside_zero = self.two_valued and self.low <= -1 and self.high == 0
        return self.low if beside_zero or self.low <= HIDES else None


def sizes(case: Case) -> Sizes:
    """Return the sizes as given, or else as the masks tell them."""
    batch, heads, queries, keys = case.batch_size, case.num_heads, case.query_len, case.key_len
    attn, padding = case.attn_mask, case.key_padding_mask
    if attn is not None and attn.dim() >= 2:
        queries = attn.shape[-2] if queries is None else queries
        keys = attn.shape[-1] if keys is None else keys
    if padding is not None and padding.dim() == 2:
        batch = padding.shape[0] if batch is None else batch
        keys = padding.shape[1] if keys is None else keys
    if attn is not None and attn.dim() == 3 and case.api == "mha":
        if batch is None and heads and len(attn) % heads == 0:
            batch = len(attn) // heads
        elif heads is None and batch and len(attn) % batch == 0:
            heads = len(attn) // batch
    return Sizes(batch, heads, queries, keys)


def blocks(mask: Tensor) -> Iterator[Tensor]:
    """Yield a mask in blocks of whole rows, each [rows, S]."""
    rows = mask.reshape(-1, mask.shape[-1])
    yield from rows.split(max(1, BLOCK_CELLS // rows.shape[-1]))


def values(mask: Tensor | None) -> Values | None:
    """Return the numbers in a floating mask; None for no mask or another dtype."""
    if mask is None or not mask.is_floating_point():
        return None
    nans = plus = minus = 0
    low, high = torch.inf, -torch.inf
    for block in blocks(mask):
        least, most = map(float, block.aminmax())
        if least != least:  # NaN, which aminmax passes on
            unknown = block.isnan()
            nans += counted(unknown)
            minus -= counted(unknown)
            block = block.masked_fill(unknown, -torch.inf)
            least, most = -torch.inf, float(block.max())
        if most == torch.inf:
            largest = block == torch.inf
            plus += counted(largest)
            minus -= counted(largest)
            block = block.masked_fill(largest, -torch.inf)
            least, most = -torch.inf, float(block.max())
        if least == -torch.inf:
            hidden = block == -torch.inf
            minus += counted(hidden)
            least = float(block.masked_fill(hidden, torch.inf).min())
        low, high = min(low, least), max(high, most)
    if low > high:
        return Values(nans, plus, minus, 0.0, 0.0, True)
    return Values(nans, plus, minus, low, high, _two_valued(mask, low, high, mask.numel() - nans - plus - minus))


def _two_valued(mask: Tensor, low: float, high: float, finite: int) -> bool:
    """Say whether all finite numbers, of which there are so many, are one of two."""
    for block in blocks(mask):
        finite -= counted(block == low) + (counted(block == high) if low < high else 0)
    return finite == 0


def some(cells: Tensor, dim: int | None = None) -> Tensor:
    """Return `cells.any(dim)` of a bool tensor; as the largest byte it takes a tenth of the time."""
    if not cells.numel():
        return cells.any() if dim is None else cells.any(dim)
    numbers = cells.view(torch.uint8)
    return (numbers.amax() if dim is None else numbers.amax(dim)) > 0


def same(left: Tensor, right: Tensor) -> bool:
    """Say whether two bool tensors [1 or N, 1 or H, L, S] are alike, up to the first block of rows that is not."""
    if not fit(left.shape, right.shape):
        return False
    left, right = torch.broadcast_tensors(left, right)
    rows = max(1, BLOCK_CELLS * left.shape[-2] // left.numel())
    blocks = zip(left.split(rows, -2), right.split(rows, -2), strict=True)
    return not any(some(mine ^ other) for mine, other in blocks)


def counted(cells: Tensor) -> int:
    """Return how many cells of a bool tensor are True; a sum would go through 64 bits a cell."""
    return int(cells.count_nonzero())


def meant(mask: Tensor, found: Values | None, case: Case) -> Tensor:
    """Return what a raw mask is meant to allow, in its own shape: penalties hide, NaN does not."""
    if found is None or found.penalty is None:
        return allowed_as_given(mask, case.api)
    return ~(mask <= (found.penalty if found.two_valued else HIDES))


def attn_allowed(case: Case) -> Tensor | None:
    """Return what `attn_mask` is meant to allow, [1 or N, 1 or H, L, S]; None where its shape can't be read."""
    size = case.sizes
    if case.attn_mask is None:
        if size.queries is None or size.keys is None:
            return None
        return torch.ones((1, 1, 1, 1), dtype=torch.bool).expand(1, 1, size.queries, size.keys)
    mask = case.attn_mask
    if case.api == "sdpa":
        return _broadcast(mask, case)
    if tuple(mask.shape[-2:]) != (size.queries, size.keys):
        return None
    allowed = meant(mask, case.attn_values, case)
    if mask.dim() == 2:
        return allowed[None, None]
    if mask.dim() == 3 and size.batch and size.heads and len(mask) == size.batch * size.heads:
        return allowed.reshape(size.batch, size.heads, *mask.shape[1:])
    return None


def _broadcast(mask: Tensor, case: Case) -> Tensor | None:
    """Return what a mask of `F.scaled_dot_product_attention` is meant to allow; None where it can't be read."""
    shape = (1,) * (4 - mask.dim()) + tuple(mask.shape)
    given = tuple(known or own for known, own in zip(case.sizes, shape, strict=False))
    if mask.dim() not in (2, 3, 4) or any(own not in (1, size) for own, size in zip(shape, given, strict=True)):
        return None
    allowed = meant(mask, case.attn_values, case).reshape(shape)
    return allowed.expand(-1, -1, given[2], given[3])


def spread(cells: Tensor, allowed: Tensor) -> Tensor:
    """Return the cells of a raw mask in the shape of what was read off it, [1 or N, 1 or H, L, S]."""
    if cells.numel() == allowed.numel():
        return cells.reshape(allowed.shape)
    return cells.expand_as(allowed)


def fit(shape: Sequence[int], other: Sequence[int]) -> bool:
    """Say whether two shapes broadcast together."""
    return len(shape) == len(other) and all(a == b or 1 in (a, b) for a, b in zip(shape, other, strict=True))


def padding_allowed(case: Case) -> Tensor | None:
    """Return what `key_padding_mask` is meant to allow, [N, 1, 1, S]; None without one of shape (N, S)."""
    mask, size = case.key_padding_mask, case.sizes
    if mask is None or mask.dim() > 2 or mask.shape[-1] != size.keys:
        return None
    if mask.dim() == 2 and len(mask) != size.batch:
        return None
    return meant(mask, case.padding_values, case.but(api="mha")).reshape(-1, 1, 1, mask.shape[-1])


def split(intent: Mask | None) -> tuple[Mask | None, Mask | None]:
    """Return what an intent asks of `attn_mask` and what of `key_padding_mask`, if they are joined by `&`."""
    if intent is None:
        return None, None
    parts = intent.operands if isinstance(intent, Combination) and intent.symbol == "&" else (intent,)
    padding = [part for part in parts if "b" in part.variables and not part.variables & {"q", "h"}]
    rest = [part for part in parts if part not in padding]
    return (combine("&", rest) if rest else None), (combine("&", padding) if padding else None)


def intended(case: Case, intent: Mask | None, rows: slice | None = None) -> Tensor | None:
    """Return an intent as bool [1 or N, 1 or H, L, S], computed in blocks of rows; None where sizes are missing."""
    size = case.sizes
    if intent is None or size.queries is None or size.keys is None:
        return None
    if ("b" in intent.variables and not size.batch) or ("h" in intent.variables and not size.heads):
        return None
    wanted = range(size.queries)[rows or slice(None)]
    many = (size.batch or 1 if "b" in intent.variables else 1) * (size.heads or 1 if "h" in intent.variables else 1)
    step = max(1, BLOCK_CELLS // (size.keys * many))
    made = [
        intent.allowed(
            size.queries,
            size.keys,
            batch_size=size.batch or 1,
            num_heads=size.heads or 1,
            rows=slice(start, min(start + step, wanted.stop)),
        )
        for start in range(wanted.start, wanted.stop, step)
    ]
    whole = torch.cat(made, dim=-2)
    if whole.dim() == 3:  # [H, L, S]
        return whole[None]
    return whole if whole.dim() == 4 else whole[None, None]


def empty_rows(attn: Tensor | None, padding: Tensor | None) -> Tensor | None:
    """Return the rows that no key is left for, bool [1 or N, 1 or H, L], one batch item at a time."""
    if attn is None:
        return None
    seen = some(attn, -1)
    if padding is None:
        return ~seen
    if len(attn) not in (1, len(padding)):
        return None
    items = []
    for n, keys in enumerate(padding):
        own = min(n, len(attn) - 1)
        items.append(seen[own] if keys.all() else some(attn[own] & keys, -1))
    return ~torch.stack(items)
