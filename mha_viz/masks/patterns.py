"""The named mask patterns. To add one, write it here; text, printing, code and tests find it in `PATTERNS`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate
from typing import Annotated

from mha_viz.errors import MaskError
from mha_viz.masks.base import Comparison, Mask, NamedMask, combine
from mha_viz.masks.index import Index, L, Number, S, Variable, b, k, q
from mha_viz.masks.registry import Pattern, Within, registrar

LONGEST = 131_072
PRIME = 2**31 - 1

PATTERNS: dict[str, Pattern[Mask]] = {}
pattern = registrar(PATTERNS, NamedMask)


@pattern(example="full")
def full() -> Mask:
    """Every query sees every key."""
    return k >= 0


@pattern(example="causal")
def causal() -> Mask:
    """Each query sees itself and the keys before it: k <= q."""
    return k <= q


@pattern(example="causal_bottom_right")
def causal_bottom_right() -> Mask:
    """The last query sees every key, each earlier query one key less: k - q <= S - L.

    The same as `causal` when L = S. With a key-value cache (L < S) this is the right one; `causal` is aligned top left.
    """
    return k - q <= S - L


@pattern(example="window(4)")
def window(r: Annotated[int, Within(0, LONGEST, "keys seen on either side")] = 4) -> Mask:
    """Each query sees the r keys on either side: |q - k| <= r.

    Two-sided; `causal & window(r)` looks back only.
    """
    return abs(q - k) <= r


@pattern(example="dilated(3, 2)")
def dilated(
    r: Annotated[int, Within(0, LONGEST, "keys seen on either side")] = 3,
    step: Annotated[int, Within(1, LONGEST, "distance between the keys seen")] = 2,
) -> Mask:
    """A window with gaps: r keys on either side, `step` apart (Beltagy et al. 2020, Longformer)."""
    return (abs(q - k) <= r * step) & ((q - k) % step == 0)


@pattern(example="strided(4)")
def strided(step: Annotated[int, Within(1, LONGEST, "distance between the keys seen")] = 4) -> Mask:
    """Every step-th key, counted from the query: (q - k) % step == 0.

    `causal & (window(4) | strided(4))` is the strided pattern of Sparse Transformers (Child et al. 2019).
    """
    return (q - k) % step == 0


@pattern(example="prefix(3)")
def prefix(n: Annotated[int, Within(1, LONGEST, "keys that everyone sees")] = 4) -> Mask:
    """Every query sees the first n keys: k < n.

    `causal | prefix(n)` is a prefix language model.
    """
    return k < n


@pattern(example="block(4)")
def block(size: Annotated[int, Within(1, LONGEST, "positions in a block")] = 4) -> Mask:
    """Positions see those of their own block of `size`: q // size == k // size."""
    return q // size == k // size


@pattern(example="document(3, 4, 2)")
def document(*lengths: Annotated[int, Within(1, LONGEST, "length of each document")]) -> Mask:
    """Documents laid end to end, each seeing only itself; what lies beyond the last is one document more."""
    ends = accumulate(lengths)
    # q < end and k < end are both true or both false: on the same side of each boundary.
    return combine("&", [(q < end) ^ (k >= end) for end in ends])


@pattern(example="global_tokens(2)")
def global_tokens(n: Annotated[int, Within(0, LONGEST, "tokens that see and are seen by all")] = 1) -> Mask:
    """The first n tokens see every token and are seen by every token (Beltagy et al. 2020, Longformer)."""
    return (q < n) | (k < n)


@pattern(example="random(0.1, 0)")
def random(
    share: Annotated[float, Within(0, 1, "part of all pairs that is allowed")] = 0.1,
    seed: Annotated[int, Within(0, PRIME - 1, "chooses another random mask")] = 0,
) -> Mask:
    """A random share of all pairs, the same pairs whatever the lengths: a pure function of (seed, q, k).

    Like the random part of BigBird (Zaheer et al. 2020), but a row may have more or fewer keys than another.
    """
    return _scrambled(q, 2 * seed + 1) * _scrambled(k, 2 * seed + 2) % PRIME < round(share * PRIME)


@pattern(example="bigbird(2, 1, 0.1, 0)")
def bigbird(
    r: Annotated[int, Within(0, LONGEST, "keys seen on either side")] = 2,
    n: Annotated[int, Within(0, LONGEST, "tokens that see and are seen by all")] = 1,
    share: Annotated[float, Within(0, 1, "part of all pairs that is allowed at random")] = 0.1,
    seed: Annotated[int, Within(0, PRIME - 1, "chooses another random mask")] = 0,
) -> Mask:
    """Window, global tokens and random pairs together (Zaheer et al. 2020, BigBird)."""
    return window(r) | global_tokens(n) | random(share, seed)


@pattern(example="padding(5, 3, 4)")
def padding(*lengths: Annotated[int, Within(0, LONGEST, "real length of each batch item")]) -> Mask:
    """Batch item i has lengths[i] real keys, the rest is padding at the end; items beyond the list have none."""
    return combine("&", [(b != item) | (k < length) for item, length in enumerate(lengths)])


@pattern(example="left_padding(5, 3, 4)")
def left_padding(*lengths: Annotated[int, Within(0, LONGEST, "real length of each batch item")]) -> Mask:
    """Batch item i has lengths[i] real keys, the rest is padding at the start; items beyond the list have none."""
    return combine("&", [(b != item) | (k >= S - length) for item, length in enumerate(lengths)])


@pattern(example="cells(2, 0, 1, 5, 3, 3)")
def cells(*runs: Annotated[int, Within(0, LONGEST - 1, "query, first key and last key of each run")]) -> Mask:
    """Single cells, as painted by hand: three numbers for each run, its query, its first key and its last key.

    `causal ^ cells(2, 4, 5)` turns two cells round: query 2 sees keys 4 and 5 as well.
    """
    if len(runs) % 3:
        raise MaskError(
            "cells takes three numbers for each run, its query, its first key and its last key, "
            f"got {len(runs)} numbers"
        )
    keys_of: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for row, first, last in zip(runs[::3], runs[1::3], runs[2::3], strict=True):
        if last < first:
            raise MaskError(f"a run of cells ends at or after its first key, got keys {first} to {last} of query {row}")
        keys_of[row].add((first, last))
    # Queries that see the same keys share a term: a painted rectangle is one, and hundreds of runs stay fast.
    rows_of: dict[frozenset[tuple[int, int]], list[int]] = defaultdict(list)
    for row in sorted(keys_of):
        rows_of[frozenset(keys_of[row])].append(row)
    return combine("|", [_within(q, _runs(rows)) & _within(k, sorted(keys)) for keys, rows in rows_of.items()])


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Return the first and the last of each run of consecutive numbers, which come in rising order."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        first = runs.pop()[0] if runs and runs[-1][1] == number - 1 else number
        runs.append((first, number))
    return runs


def _within(index: Variable, runs: Iterable[tuple[int, int]]) -> Mask:
    """Return where an index is from the first to the last of one of the runs."""
    return combine(
        "|",
        [
            index == first if first == last else Comparison(("<=", "<="), (Number(first), index, Number(last)))
            for first, last in runs
        ],
    )


def _scrambled(index: Index, salt: int) -> Index:
    """Return a number from 0 to PRIME - 1 that looks unrelated for neighbouring indices.

    Squaring twice modulo a prime makes a polynomial of degree four; a linear or quadratic one shows as stripes.
    """
    mixed = (index * 48_271 + salt * 1_664_525_013 % PRIME) % PRIME
    for _ in range(2):
        mixed = (mixed * mixed + 1_013_904_223) % PRIME
    return mixed
