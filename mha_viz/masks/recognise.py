"""What is this mask? The known pattern that explains a raw mask best, and the convention it is written in."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mha_viz.errors import MaskError
from mha_viz.masks import fits
from mha_viz.masks.base import Mask
from mha_viz.masks.encode import allowed_as_given, read
from mha_viz.masks.source import MAX_CHARS
from mha_viz.masks.text import mask as parse_mask

# They stay in the cache; from 2**15 on torch would share the work among threads, which wait for each other.
CELLS_AT_ONCE = 2**15 - 1
SAMPLED_CELLS = 2**19  # looked at before the best are compared with the whole mask
PENALTY = -1000  # a score bias is hardly ever this low, and a mask hardly ever higher


class Recognised(NamedTuple):
    """One explanation of a raw mask.

    Attributes:
        mask: A text of the mask language, such as `causal & window(8)`.
        convention: How the raw mask says it: "mha" (True or 1 = ignore), "sdpa" (True or 1 = attend) or "float"
            (added to the scores).
        agreement: The share of cells that this text explains, from 0 to 1.
    """

    mask: str
    convention: str
    agreement: float


class _Guess(NamedTuple):
    mask: Mask
    convention: str
    allowed: Tensor  # [N, H, L, S]

    def cost(self, wrong: int) -> float:
        """Return how many names and numbers it takes to say it, with `wrong` cells corrected one by one."""
        text = str(self.mask)
        # Padding at the end is the usual case: of equals it is to come first.
        return 3 * wrong + len(re.findall(r"\w+", text)) + ("left_" in text) / 2


def recognise(mask: Tensor | np.ndarray[Any, Any], *, most: int = 5, num_heads: int = 1) -> list[Recognised]:
    """Say which known patterns explain a raw mask, and in which convention, best first.

    Bools and numbers that are 0 or 1 only are read in both polarities. Other numbers are read as added to the scores:
    -inf forbids, and so does the lower of two values or anything near a large penalty such as -1e9; NaN allows, since
    0 * -inf leaves it where a cell was meant to be kept.

    An explanation that leaves fewer cells unexplained comes first, but a wrong cell weighs no more than the three
    numbers that `cells` needs to correct it, so that a long list of lengths does not win by a few flipped cells. Of
    equals the shorter text comes first. A bare padding mask says the same in either polarity, with the padding at the
    other end: then the real tokens are taken to come first, as in `padding(...)`.

    Args:
        mask: [L, S]; or [N, S] or [S], which says only which keys are real; or [N * H, L, S] with index n * H + h; or
            [N, H, L, S]. N and H may be 1; where L is 1, only keys are meant, whatever the number of dimensions.
        most: How many explanations to return.
        num_heads: H of a mask of three dimensions.

    Returns:
        At most `most` explanations.

    Raises:
        MaskError: The mask is no tensor of numbers with one to four dimensions, has no cells, or has floats of 8 bits
            or less; or num_heads is below 1.
    """
    if num_heads < 1:
        raise MaskError(f"num_heads must be 1 or more, got {num_heads}")
    tensor = _tensor(mask)
    guesses = [
        guess
        for convention, allowed in _readings(tensor)
        for view, keys_alone in _views(allowed, num_heads)
        for guess in _guesses(convention, view, _texts(view, keys_alone))
    ]
    cells = tensor.numel()
    return [Recognised(str(one.mask), one.convention, 1 - wrong / cells) for wrong, one in _ranked(guesses, most)]


def _ranked(guesses: list[_Guess], most: int) -> list[tuple[int, _Guess]]:
    """Return the best guesses with the number of cells they get wrong; of those that agree alike the shortest only."""
    looks = [(_wrong(guess, every), every, guess) for guess in guesses for every in [_sampling(guess.allowed)]]
    looks.sort(key=lambda look: look[2].cost(look[0] * look[1]))
    found: dict[tuple[str, int], tuple[int, _Guess]] = {}
    seen: set[tuple[str, int]] = set()
    least: dict[str, float] = defaultdict(lambda: math.inf)  # cost of the best so far, by convention
    for few, every, guess in looks:
        if len(found) > most:
            break
        alike = (guess.convention, few * every)
        if alike in seen and (few or guess.cost(0) >= least[guess.convention]):
            continue  # says the same as a shorter one, or could not win if it did not
        seen.add(alike)
        wrong = few if every == 1 else _wrong(guess)
        found.setdefault((guess.convention, wrong), (wrong, guess))
        least[guess.convention] = min(least[guess.convention], guess.cost(wrong))
    return sorted(found.values(), key=lambda pair: pair[1].cost(pair[0]))[:most]


def _sampling(allowed: Tensor) -> int:
    """Return which rows a first look takes, every so-many-th: odd, since patterns often repeat by powers of two."""
    return min(allowed.numel() // SAMPLED_CELLS | 1, allowed.shape[2])


def _tensor(mask: Tensor | np.ndarray[Any, Any]) -> Tensor:
    tensor = read("a mask to recognise", mask)
    if not 1 <= tensor.dim() <= 4 or not tensor.numel():
        raise MaskError(
            "a mask to recognise must have one to four dimensions and at least one cell, "
            f"got the shape {list(tensor.shape)}"
        )
    if tensor.is_floating_point() and tensor.dtype.itemsize < 2:
        raise MaskError(
            f"a mask to recognise must hold bools, integers or floats of 16 bits or more, got {tensor.dtype}"
        )
    return tensor


def _readings(mask: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield each convention that a mask may be in, with what it then allows."""
    if mask.dtype == torch.bool or _is_zero_or_one(mask):
        said = mask if mask.dtype == torch.bool else mask != 0
        yield "mha", allowed_as_given(said, "mha")
        yield "sdpa", allowed_as_given(said, "sdpa")
    else:
        yield "float", _allowed_by_added(mask)


def _is_zero_or_one(mask: Tensor) -> bool:
    if not mask.is_floating_point():
        return not mask.dtype.is_signed or bool(mask.min() >= 0)  # 255 for True, as in a picture, too
    low, high = (float(end) for end in torch.aminmax(mask))
    # Zeros alone are the float mask that hides nothing.
    return low in (0, 1) and high == 1 and bool(((mask == 0) | (mask == 1)).all())


def _allowed_by_added(mask: Tensor) -> Tensor:
    low, high = (float(end) for end in torch.aminmax(mask))
    if math.isnan(low):
        return _allowed_by_added(mask.nan_to_num(0, posinf=torch.inf, neginf=-torch.inf))
    if low == -torch.inf:
        return allowed_as_given(mask if mask.is_floating_point() else mask.float())
    if low <= PENALTY:
        return mask > low / 2
    two_valued = low < high and bool(((mask == low) | (mask == high)).all())
    return mask > (low + high) / 2 if two_valued else torch.ones_like(mask, dtype=torch.bool)


def _views(allowed: Tensor, num_heads: int) -> Iterator[tuple[Tensor, bool]]:
    """Yield [N, H, L, S] with whether only keys are meant: a table may be about queries and keys, or items and keys."""
    shape = allowed.shape
    keys_alone = len(shape) < 2 or shape[-2] == 1
    if len(shape) == 1:
        yield allowed[None, None, None], keys_alone
    elif len(shape) == 2:
        if not keys_alone:
            yield allowed[None, None], keys_alone
        yield allowed[:, None, None], True
    elif len(shape) == 3:
        heads = num_heads if shape[0] % num_heads == 0 else 1
        yield allowed.reshape(-1, heads, *shape[1:]), keys_alone
    else:
        yield allowed, keys_alone


def _texts(allowed: Tensor, keys_alone: bool) -> Iterator[str]:
    items = _union(allowed, 1)  # [N, L, S]
    whole = _union(items, 0)  # [L, S]
    everything = np.ones(whole.shape, dtype=np.bool_)
    if keys_alone:
        yield "full"
        yield from fits.padding(items.numpy(), everything)
        return
    structures = list(fits.patterns(whole.numpy()))
    yield from structures
    yield from fits.padding(items.numpy(), everything)
    # Under padding the union of the items shows the structure, as far as the longest of them reaches.
    closest = [] if len(items) == 1 else _ranked(_guesses("", whole[None, None], structures), 2)
    for base in dict.fromkeys(["causal", *(str(guess.mask) for _, guess in closest)]):
        real = parse_mask(base).allowed(*whole.shape).numpy()
        yield from (f"({base}) & {padding}" for padding in fits.padding(items.numpy(), real))
    if allowed.shape[1] > 1:
        yield from _by_head(allowed)


def _union(allowed: Tensor, dim: int) -> Tensor:
    return allowed.select(dim, 0) if allowed.shape[dim] == 1 else allowed.any(dim)


def _by_head(allowed: Tensor) -> Iterator[str]:
    """Yield the best explanation of each head by itself, in one text, unless all heads have the same."""
    heads_of: dict[str, list[int]] = defaultdict(list)
    for head in range(allowed.shape[1]):
        alone = allowed[:, [head]]
        _, best = _ranked(_guesses("", alone, _texts(alone, keys_alone=False)), 1)[0]
        heads_of[str(best.mask)].append(head)
    if len(heads_of) > 1:
        chosen = [(" | ".join(f"(h == {head})" for head in heads), text) for text, heads in heads_of.items()]
        yield " | ".join(f"({heads}) & ({text})" for heads, text in chosen)


def _guesses(convention: str, allowed: Tensor, texts: Iterable[str]) -> list[_Guess]:
    short = [text for text in dict.fromkeys(texts) if len(text) <= MAX_CHARS]
    return [_Guess(parse_mask(text), convention, allowed) for text in short]


def _wrong(guess: _Guess, every: int = 1) -> int:
    """Count the cells that a guess gets wrong, in blocks of rows; in every so-many-th row only."""
    batch, heads, queries, keys = guess.allowed.shape
    rows = max(1, CELLS_AT_ONCE // (batch * heads * keys))
    wrong = 0
    for start in range(0, queries, rows * every):
        block = slice(start, min(start + rows * every, queries), every)
        said = guess.mask.allowed(queries, keys, batch_size=batch, num_heads=heads, rows=block)
        wrong += int(torch.count_nonzero(guess.allowed[:, :, block] ^ said))
    return wrong
