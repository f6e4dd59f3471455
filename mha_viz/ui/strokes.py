"""What the browser says after somebody painted on a heatmap: a stroke, or the wish to undo or redo one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Command = Literal["undo", "redo"]

MOST_RUNS = 8192
LARGEST_INDEX = 2**20


@dataclass(frozen=True)
class Stroke:
    """Cells of one panel that were painted by one gesture.

    Attributes:
        panel: number of the panel, from 0.
        runs: (query, first key, last key) of neighbouring cells, both ends included.
        value: True if the cells are to be allowed, False if they are to be masked.
    """

    panel: int
    runs: tuple[tuple[int, int, int], ...]
    value: bool


def read(message: object) -> Stroke | Command | None:
    """Return what a message from the browser says, or None if it is not of the form that the component sends.

    Only the form is checked: whoever uses the numbers compares them with the figure's sizes.
    """
    if not isinstance(message, Mapping):
        return None
    if message.get("undo") is True:
        return "undo"
    if message.get("redo") is True:
        return "redo"
    panel, sent, value = _index(message.get("panel")), message.get("runs"), message.get("value")
    if panel < 0 or not isinstance(value, bool) or not isinstance(sent, list) or not 0 < len(sent) <= MOST_RUNS:
        return None
    runs = [run for each in sent if (run := _run(each)) is not None]
    return Stroke(panel, tuple(runs), value) if len(runs) == len(sent) else None


def serial(message: object) -> int | None:
    """Return the number that the browser gave its message, by which it knows the answer."""
    number = _index(message.get("serial")) if isinstance(message, Mapping) else -1
    return number if number >= 0 else None


def _run(sent: object) -> tuple[int, int, int] | None:
    if not isinstance(sent, list) or len(sent) != 3:
        return None
    query, first, last = map(_index, sent)
    return (query, first, last) if query >= 0 and 0 <= first <= last else None


def _index(value: object) -> int:
    """Return a whole number of a sensible size, or -1."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST_INDEX else -1
