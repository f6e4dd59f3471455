"""Cells painted by hand, as part of a mask's text: `causal ^ cells(2, 4, 5)`.

A row of painted cells is kept as its edges, the keys at which paint starts or stops. To toggle cells is then to toggle
edges, a symmetric difference of two sets, however long the sequence is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from torch import Tensor
from torch.nn import functional as F

from mha_viz.errors import MaskError
from mha_viz.masks.base import Combination, Inversion, Mask, NamedMask, combine
from mha_viz.masks.patterns import LONGEST, PATTERNS
from mha_viz.masks.source import MAX_CHARS
from mha_viz.masks.text import mask as parse_mask

Edges = frozenset[tuple[int, int]]  # (query, key): paint starts or stops before this key
NOTHING = ~PATTERNS["full"]()


def from_cells(cells: Tensor) -> Mask | None:
    """Return the mask that allows exactly these cells, in the fewest runs.

    Args:
        cells: bool [L, S], True where a query may attend.

    Returns:
        A mask `cells(...)`, whose text may be longer than a mask's text can be; None where no cell is True.

    Raises:
        MaskError: The tensor is not a table, or a side is longer than 131,072.
    """
    return _from_edges(_edges(cells))


def painted(mask: str | Mask, toggled: Tensor) -> str:
    """Return the text of a mask with some cells turned round: what was allowed is forbidden and the reverse.

    Cells that were painted before and the new ones become one term, so that turning a cell twice gives the canonical
    text of the mask back. `~full` and `cells(...)` alone are drawings on nothing and stay without a `^`.

    Args:
        mask: What is painted on, such as `causal` or `causal ^ cells(2, 4, 5)`.
        toggled: bool [L, S], True where the cell is turned round; cells painted outside of [L, S] stay.

    Returns:
        Such as `causal ^ cells(2, 4, 5)`.

    Raises:
        MaskError: The mask cannot be read, the tensor is not a table, or the text would be longer than a mask's.
    """
    rest, edges = _taken_apart(parse_mask(mask))
    cells = _from_edges(edges ^ _edges(toggled))
    parts = rest if cells is None else [*rest, cells]
    text = str(combine("^", parts) if parts else NOTHING)
    if len(text) > MAX_CHARS:
        raise MaskError(
            f"a painted mask must have at most {MAX_CHARS} characters, got {len(text)}: "
            "paint fewer runs of cells, or write what they have in common"
        )
    return text


def _taken_apart(mask: Mask) -> tuple[list[Mask], Edges]:
    """Return the terms of a mask that are not painted, and the edges of what is."""
    if isinstance(mask, Inversion) and mask == NOTHING:
        return [], frozenset()
    terms = mask.operands if isinstance(mask, Combination) and mask.symbol == "^" else (mask,)
    rest: list[Mask] = []
    edges: Edges = frozenset()
    for term in terms:
        if isinstance(term, NamedMask) and term.name == "cells":
            edges ^= _edges_of_runs([int(number) for number in term.arguments])
        else:
            rest.append(term)
    return rest, edges


def _edges(cells: Tensor) -> Edges:
    if cells.dim() != 2 or max(cells.shape) > LONGEST:
        raise MaskError(f"painted cells must be a table [L, S] of at most {LONGEST} each, got {list(cells.shape)}")
    beside = F.pad(cells.bool(), (1, 1))
    return frozenset(map(tuple, (beside[:, 1:] ^ beside[:, :-1]).nonzero().tolist()))


def _edges_of_runs(runs: Sequence[int]) -> Edges:
    """Return the edges of runs that may overlap or touch; inside each row, paint is on where a run is open."""
    steps = sorted(
        (row, place, -opens)
        for row, first, last in zip(runs[::3], runs[1::3], runs[2::3], strict=True)
        for place, opens in ((first, 1), (last + 1, -1))
    )
    edges: set[tuple[int, int]] = set()
    depth = 0
    for row, place, closes in steps:
        before, depth = depth, depth - closes
        if 0 in (before, depth):
            edges.add((row, place))
    return frozenset(edges)


def _from_edges(edges: Edges) -> Mask | None:
    if not edges:
        return None
    return PATTERNS["cells"](*_runs(sorted(edges)))


def _runs(edges: Iterable[tuple[int, int]]) -> Iterable[int]:
    for row, places in groupby(edges, lambda edge: edge[0]):
        keys = [key for _, key in places]
        for first, end in zip(keys[::2], keys[1::2], strict=True):
            yield from (row, first, end - 1)
