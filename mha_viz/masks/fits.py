"""Known patterns fitted to a table of allowed cells: which window, which prefix, which documents would explain it.

Parameters are read off sums along diagonals, rows and columns, and so stand a few wrong cells. A sum counts allowed
cells minus forbidden ones; where a running total of such sums is largest, most cells agree with a bound there.
Whether a pattern then explains the table is not decided here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Table = npt.NDArray[np.bool_]  # [L, S], True where a query may attend
Sums = npt.NDArray[np.int64]  # allowed minus forbidden cells
ROWS = 255  # summed at a time: so many ones fit a byte, and bytes are added fast
MOST_LENGTHS = 128  # of documents or batch items: nobody reads a longer list, and computing it takes long
FILLED = 0.9  # of a column that a global token's must have


def patterns(table: Table) -> Iterator[str]:
    """Yield texts of masks without b and h that might explain a table, each with the parameters that fit best."""
    along = _diagonals(table)
    yield "full"
    yield from _bounded(table, along)
    yield from _windows(table, along)
    columns, future = _columns(table)
    yield f"prefix({_best(columns)})"
    yield f"causal | prefix({_best(future)})"
    yield from _with_global_tokens(table, columns, future)
    yield from _documents(table)


def padding(tables: Table, real: Table) -> Iterator[str]:
    """Yield `padding(...)` and `left_padding(...)` with the lengths that fit best.

    Args:
        tables: [N, L, S], one table for each batch item.
        real: [L, S], what is allowed without padding; only these cells are looked at.
    """
    if len(tables) > MOST_LENGTHS:
        return
    cells = _counted(real)
    columns = [_weighed(_counted(table & real), cells) for table in tables]
    yield f"padding({_listed(_longest(sums) for sums in columns)})"
    yield f"left_padding({_listed(_longest(sums[::-1]) for sums in columns)})"


def _weighed(allowed: Sums, of: Sums | int) -> Sums:
    return 2 * allowed.astype(np.int64) - of


def _counted(table: Table) -> Sums:
    """Return how many cells of each column are allowed."""
    counts = np.zeros(table.shape[1], dtype=np.int64)
    for start in range(0, len(table), ROWS):
        counts += _down(table[start : start + ROWS])
    return counts


def _down(block: Table) -> npt.NDArray[np.uint8]:
    """Return how many cells of each column are allowed, of at most 255 rows."""
    counts: npt.NDArray[np.uint8] = block.view(np.uint8).sum(0, dtype=np.uint8)
    return counts


def _best(sums: Sums) -> int:
    """Return how many of the first sums to take for the largest total; at least one, and the fewest of equals."""
    return int(np.argmax(np.cumsum(sums))) + 1


def _longest(sums: Sums) -> int:
    """Return how many of the first sums to take for the largest total, from none to all, and the most of equals."""
    totals = np.concatenate([[0], np.cumsum(sums)])
    return len(sums) - int(np.argmax(totals[::-1]))


def _listed(numbers: Iterator[int]) -> str:
    return ", ".join(map(str, numbers))


# Along diagonals


def _diagonals(table: Table) -> Sums:
    """Return the sum along each diagonal k - q, from -(L - 1) to S - 1."""
    queries, keys = table.shape
    counts = np.zeros(queries + keys - 1, dtype=np.int64)
    for start in range(0, queries, ROWS):
        block = table[start : start + ROWS][::-1]
        rows = len(block)
        # Rows laid one after another with one cell less than their width slide by one: diagonals become columns.
        slid = np.zeros((rows, keys + rows), dtype=np.bool_)
        slid[:, :keys] = block
        sheared = slid.reshape(-1)[: rows * (keys + rows - 1)].reshape(rows, keys + rows - 1)
        first = queries - start - rows
        counts[first : first + keys + rows - 1] += _down(sheared)
    place = np.arange(len(counts))
    cells = np.minimum.reduce([place + 1, place[::-1] + 1, np.full_like(place, min(queries, keys))])
    return _weighed(counts, cells)


def _bounded(table: Table, along: Sums) -> Iterator[str]:
    """Yield masks k - q <= some bound; a bound of -1 hides each query from itself."""
    queries, keys = table.shape
    yield "causal"
    if queries != keys:
        yield "causal_bottom_right"
    bound = _best(along) - queries
    if bound == -1:
        yield "q > k"
    elif bound:
        yield f"k <= q {'+' if bound > 0 else '-'} {abs(bound)}"


def _windows(table: Table, along: Sums) -> Iterator[str]:
    around, past = _by_distance(table, along)
    for sums, causal in ((around, ""), (past, "causal & ")):
        yield f"{causal}window({_best(sums) - 1})"
        seen = np.flatnonzero(sums[1:] > 0) + 1
        gaps = np.diff(seen, prepend=0).tolist()
        step = Counter(gaps).most_common(1)[0][0] if gaps else 1
        if step > 1:
            yield f"{causal}strided({step})"
            yield f"{causal}dilated({_best(sums[::step]) - 1}, {step})"


def _by_distance(table: Table, along: Sums) -> tuple[Sums, Sums]:
    """Return the sums of the cells at each distance |q - k|, and of those at q - k >= 0 alone."""
    queries, keys = table.shape
    past = along[:queries][::-1]
    around = np.zeros(max(table.shape), dtype=np.int64)
    around[:queries] += past
    around[1:keys] += along[queries:]
    return around, past


# Along columns


def _columns(table: Table) -> tuple[Sums, Sums]:
    """Return the sum of each column, and that of its part above the diagonal, k > q."""
    queries, keys = table.shape
    future = np.zeros(keys, dtype=np.int64)
    for start in range(0, queries, ROWS):
        block = table[start : start + ROWS]
        end = start + len(block)
        future[start:end] += _down(np.triu(block[:, start:end], 1))
        future[end:] += _down(block[:, end:])
    return _weighed(_counted(table), queries), _weighed(future, np.minimum(np.arange(keys), queries))


def _with_global_tokens(table: Table, columns: Sums, future: Sums) -> Iterator[str]:
    queries, keys = table.shape
    both = min(queries, keys)
    rows = _weighed(np.count_nonzero(table, axis=1), keys)
    crosses = (columns[:both] / queries + rows[:both] / keys) / 2
    if count := _leading(crosses):
        yield f"global_tokens({count})"
        if count < both:
            around, _ = _by_distance(table[count:, count:], _diagonals(table[count:, count:]))
            yield f"window({_best(around) - 1}) | global_tokens({count})"
    below = queries - np.arange(both)
    count = _leading((columns - future)[:both] / below)
    if 0 < count < both:
        _, past = _by_distance(table[count:, count:], _diagonals(table[count:, count:]))
        yield f"causal & (window({_best(past) - 1}) | prefix({count}))"


def _leading(weights: npt.NDArray[np.float64]) -> int:
    """Return how many of the first lines are filled; a weight is 1 where all cells are allowed and -1 where none is."""
    filled = weights >= 2 * FILLED - 1
    return int(np.argmin(np.append(filled, False)))


# Documents


def _documents(table: Table) -> Iterator[str]:
    lengths = [int(length) for length in np.diff(_boundaries(table))]
    if len(lengths) < 2:
        return
    size = Counter(lengths[:-1]).most_common(1)[0][0]
    for causal in ("", "causal & "):
        yield f"{causal}block({size})"
        if len(lengths) <= MOST_LENGTHS:
            yield f"{causal}document({_listed(iter(lengths))})"


def _boundaries(table: Table) -> list[int]:
    """Return where documents start, with 0 and the end of the longer side, from what queries see of their past."""
    both = min(table.shape)
    kept = [0]
    splits = [*_splits(table[:both, :both]), both]
    for middle, end in pairwise(splits):
        # Together if most of what lies between the two pieces is allowed.
        between = table[middle:end, kept[-1] : middle]
        if 2 * np.count_nonzero(between) <= between.size:
            kept.append(middle)
    return [*kept, *_end_of_last(table)]


def _splits(square: Table) -> list[int]:
    """Return the positions across which one of the three shortest looks back is forbidden."""
    one = np.diagonal(square, -1)  # position i sees i - 1
    two = np.diagonal(square, -2)  # position i sees i - 2
    split = ~one
    split[:-1] |= ~two[: len(split) - 1]
    split[1:] |= ~two[: len(split) - 1]
    return [int(i) + 1 for i in np.flatnonzero(split)]


def _end_of_last(table: Table) -> list[int]:
    """Return the longer side, after the end of the last document if that lies beyond the shorter side."""
    queries, keys = table.shape
    line = table[-1] if keys > queries else table[:, -1]
    seen = np.flatnonzero(line)
    end = int(seen[-1]) + 1 if len(seen) else 0
    both, longer = sorted(table.shape)
    return [end, longer] if both <= end < longer else [longer]
