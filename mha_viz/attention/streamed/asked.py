"""What somebody asks a layer for, checked against the sizes of its weights."""

from __future__ import annotations

from collections.abc import Iterable

from mha_viz.attention.windows import check_index, resolved
from mha_viz.errors import ScenarioError

LARGEST_SIDE = 16_384  # of the blocks of a region

Shape = tuple[int, int, int, int]  # N, H, L and S


def heads_of(shape: Shape, heads: Iterable[int] | None, item: int) -> list[int]:
    """Return the heads of an item, all if None.

    Raises:
        ScenarioError: There is no such item or head.
    """
    n, count, _, _ = shape
    chosen = list(range(count) if heads is None else heads)
    check_index("item", item, n)
    for head in chosen:
        check_index("head", head, count)
    return chosen


def rectangle(shape: Shape, rows: slice, cols: slice, side: int) -> tuple[slice, slice]:
    """Return slices of queries and keys with their ends inside the weights.

    Raises:
        ScenarioError: A step is not 1, a start is no multiple of the side, or there are no such blocks.
    """
    if not 1 <= side <= LARGEST_SIDE:
        raise ScenarioError(f"side of a region's blocks must be from 1 to {LARGEST_SIDE:,}, not {side}.")
    wanted, keys = (resolved(part, length) for part, length in zip((rows, cols), shape[2:], strict=True))
    for name, part in (("rows", wanted), ("cols", keys)):
        if part.start % side:
            raise ScenarioError(f"{name} must start at a multiple of the side, {side}, not at {part.start}.")
    return wanted, keys
