"""How positions are said in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mha_viz.doctor.findings import Position
from mha_viz.doctor.reading import some

SHOWN = 8  # positions in a finding; groups of rows in its evidence are fewer still


def spans(numbers: Sequence[int], most: int = 4) -> str:
    """Return sorted numbers as runs: `0 to 2, 5 and 7`; after `most` runs only how many numbers there are."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    said = [" to ".join(map(str, run)) for run in runs[:most]]
    if len(runs) > most:
        return f"{', '.join(said)} and others ({len(numbers)} in all)"
    return " and ".join(filter(None, [", ".join(said[:-1]), said[-1]])) if said else "none"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def positions(cells: Tensor) -> tuple[Position, ...]:
    """Return the first few True cells of [1 or N, 1 or H, L, S] or [.., L] as positions; None for a size of 1."""
    every = (cells.shape[0] == 1, cells.shape[1] == 1)
    found = first(cells, SHOWN)
    return tuple(
        (None if every[0] else at[0], None if every[1] else at[1], at[2], at[3] if len(at) > 3 else None)
        for at in found
    )


def first(cells: Tensor, most: int) -> list[list[int]]:
    """Return the indices of the first `most` True cells, without listing all of them (a mask has millions)."""
    found: list[list[int]] = []
    shape = cells.shape
    flat = cells.reshape(-1, shape[-1])
    for row in some(flat, -1).nonzero()[:most, 0].tolist():
        outer = [int(index) for index in torch.unravel_index(torch.tensor(row), shape[:-1])]
        found += [[*outer, key] for key in flat[row].nonzero()[: most - len(found), 0].tolist()]
        if len(found) >= most:
            break
    return found


def rows(empty: Tensor) -> str:
    """Say which rows of bool [1 or N, 1 or H, L] are True: `query 0 of batch item 1, every head`."""
    groups = empty.any(dim=-1).nonzero().tolist()
    said = []
    for item, head in groups[:3]:
        queries = empty[item, head].nonzero()[:, 0].tolist()
        place = [f"batch item {item}" if len(empty) > 1 else "", f"head {head}" if empty.shape[1] > 1 else ""]
        named = ", ".join(filter(None, place))
        said.append(f"{'query' if len(queries) == 1 else 'queries'} {spans(queries)}{f' of {named}' if named else ''}")
    more = f"; and so in {len(groups) - 3} more" if len(groups) > 3 else ""
    return "; ".join(said) + more


def cells(where: Tensor) -> str:
    """Say the first few True cells of [1 or N, 1 or H, L, S] as (query, key), with batch item and head if they vary."""
    shown = ["(" + ", ".join(str(i) for i in at if i is not None) + ")" for at in positions(where)[:4]]
    names = [name for name, size in zip(("batch", "head"), where.shape, strict=False) if size > 1]
    more = ", ..." if int(where.count_nonzero()) > 4 else ""
    return f"({', '.join([*names, 'query', 'key'])}) = {', '.join(shown)}{more}"
