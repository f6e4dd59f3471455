"""What moves in a trace when something before it is edited."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mha_viz.attention.difference import difference
from mha_viz.attention.stages import Stage
from mha_viz.attention.trace import Trace
from mha_viz.errors import ScenarioError


@dataclass(frozen=True)
class Moved:
    """What an edit did to one stage.

    Attributes:
        name: The stage.
        change: The largest difference of a number; inf where a NaN or an infinity came or went.
        count: How many numbers changed.
        size: How many there are.
        where: Index of the largest difference, the first of several; None where nothing changed.
    """

    name: str
    change: float
    count: int
    size: int
    where: tuple[int, ...] | None


def moved(before: Trace, after: Trace) -> tuple[Moved, ...]:
    """Say for each stage, in order, what is different after an edit.

    Args:
        before: A trace.
        after: Another one of the same shapes, such as `before.edited("head[1] = off")`.

    Raises:
        ScenarioError: The shapes differ.
    """
    return tuple(_moved(*pair) for pair in zip(before.stages, after.stages, strict=True))


def _moved(before: Stage, after: Stage) -> Moved:
    if before.shape != after.shape:
        shapes = f"{list(before.shape)} and {list(after.shape)}"
        raise ScenarioError(f"Two traces can be compared if their shapes are equal, but {after.name} has {shapes}.")
    apart = difference(before.tensor, after.tensor)
    count = int(apart.count_nonzero())
    index = torch.unravel_index(apart.argmax(), apart.shape) if count else ()
    where = tuple(int(i) for i in index) if count else None
    return Moved(after.name, float(apart.max()), count, apart.numel(), where)
