"""How the L × S plane of one head is cut: into blocks of queries, and for each into tiles of keys worth computing.

A block of queries is a whole number of rows of the overview or a part of one; a tile is a whole number of its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mha_viz.attention.streamed.sight import ALL, NONE

LEAST_KEYS = 128  # smaller products are slow
LEAST_QUERIES = 512  # blocks of fewer pay too often for each step
ROWS = 2**14  # that the blocks of all threads have together: each takes some KiB of its thread's memory


@dataclass(frozen=True)
class Cut:
    """The largest pieces that are computed at once, chosen for a device.

    Attributes:
        queries: Rows in a block.
        keys: Keys in a tile.
        held: Cells that all threads together hold at once where every weight of a block is needed twice.
        masks: Cells of a block of queries whose mask a thread holds, for heads that share it.
        evaluated: Cells of a mask that are computed at once; each needs some integers meanwhile.
        avoided: A block has no multiple of so many rows, unless it is all there are or a group has; 0 allows any.
    """

    queries: int
    keys: int
    held: int
    masks: int
    evaluated: int
    avoided: int = 0

    def for_threads(self, threads: int) -> Cut:
        """Return the same with blocks of fewer queries where many threads hold one each."""
        return replace(self, queries=min(self.queries, max(LEAST_QUERIES, ROWS // threads)))

    def for_statistics(self, keys: int, threads: int) -> Cut:
        """Return the same with blocks of fewer queries where all their weights over `keys` keys must be held.

        Tiles become wider by as much: half as wide or twice as wide, they would take a tenth to a fifth longer.
        """
        queries = max(16, min(self.queries, self.held // threads // keys // 16 * 16))
        return replace(self, queries=queries, keys=self.keys * self.queries // queries)


# Measured on two cores: larger tiles leave the caches, smaller ones pay too often for each step. Numbers 4 KiB apart
# share a set of a cache: a product of narrow heads takes twice as long where its rows begin there.
CPU = Cut(queries=576, keys=1_024, held=2**24, masks=2**24, evaluated=2**16, avoided=1_024)
# Blocks of more queries pay less often, and skip less of what is masked: a pass under a narrow window takes twice as
# long with these.
CPU_WHOLE = replace(CPU, queries=2_304, keys=512)
# For GPUs: tiles of 4 to 32 MiB. Small ones fit the caches of some, large ones are started less often.
GPU = tuple(
    Cut(queries=queries, keys=keys, held=2**24, masks=2**24, evaluated=2**21)
    for queries, keys in ((512, 2_048), (512, 4_096), (1_024, 4_096), (2_048, 4_096))
)


@dataclass(frozen=True)
class Tile:
    """Keys from `start` to `stop`, of which the runs in `mixed` need the mask and the others are all allowed."""

    start: int
    stop: int
    mixed: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return self.stop - self.start


def side(length: int, size: int) -> int:
    """Return how many tokens one row or column of an overview of at most `size` stands for."""
    return -(-length // size)


def blocks_of_queries(length: int, group: int, most: int, avoided: int = 0) -> list[tuple[int, int]]:
    """Return (start, stop) of equal blocks of at most `most` rows: whole groups, or parts of one if it is larger.

    Where that would be a multiple of `avoided`, blocks have a group more, if then it is none.
    """
    if group <= most:
        step = group * _even(-(-length // group), most // group)
        if avoided and step < length and step % avoided == 0 and group % avoided:
            step += group
        return [(start, min(start + step, length)) for start in range(0, length, step)]
    step = _even(group, most)
    starts = [row for first in range(0, length, group) for row in range(first, min(first + group, length), step)]
    return list(zip(starts, [*starts[1:], length], strict=True))


def _even(count: int, most: int) -> int:
    """Return how large the fewest equal parts of at most `most` are; a last one a few rows long takes its time too."""
    parts = max(1, -(-count // most))
    return max(1, -(-count // parts))


def pieces(rows: tuple[int, int], group: int, most: int) -> list[tuple[int, int]]:
    """Return (start, stop) of the parts of a block of queries that has more than `most` rows, cut as they are."""
    start, stop = rows
    if stop - start <= most:
        return [rows]
    cut = blocks_of_queries(stop - start, min(group, stop - start), max(1, most))
    return [(start + first, start + last) for first, last in cut]


def blocks_of_keys(start: int, stop: int, group: int) -> list[int]:
    """Return the edges of the blocks of keys that are looked at as one: each a whole number of groups."""
    step = group * max(1, LEAST_KEYS // group)
    return [*range(start, stop, step), stop]


def tiles(classes: Sequence[int], edges: Sequence[int], most: int) -> tuple[Tile, ...]:
    """Return the tiles of one block of queries, leaving out what is wholly masked.

    Args:
        classes: What the mask allows of each block of keys.
        edges: Where they start and end, one more.
        most: Keys in a tile, at least one block.
    """
    found: list[Tile] = []
    open_: list[int] = []  # the blocks of the tile that is being made

    def close() -> None:
        if open_:
            runs = _runs([b for b in open_ if classes[b] != ALL])
            mixed = tuple((edges[first], edges[last + 1]) for first, last in runs)
            found.append(Tile(edges[open_[0]], edges[open_[-1] + 1], mixed))
            open_.clear()

    for block, kind in enumerate(classes):
        if kind == NONE or (open_ and edges[block + 1] - edges[open_[0]] > most):
            close()
        if kind != NONE:
            open_.append(block)
    close()
    return tuple(found)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        first = runs.pop()[0] if runs and runs[-1][1] == number - 1 else number
        runs.append((first, number))
    return runs
