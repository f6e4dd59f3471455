"""What the app's process and the one that speaks with Ray say to each other, over a pipe that nobody else can open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Count:
    """Asks how many calls can run at once on devices of a type."""

    device: str


@dataclass(frozen=True)
class Work:
    """Asks for calls of a function; the arrays follow as raw bytes, which are copied only once.

    Attributes:
        function: Of a module that each node has too; only its name travels.
        shared: What all calls have in common beside the arrays.
        forms: Shape and dtype of each array.
        calls: What differs.
        device: Type of the devices that the calls need: cpu or cuda.
        version: Torch's version in the app's process.
    """

    function: Any
    shared: Any
    forms: tuple[tuple[tuple[int, ...], str], ...]
    calls: tuple[Any, ...]
    device: str
    version: str


@dataclass(frozen=True)
class Stop:
    """Ends the calls that run and wait."""


@dataclass(frozen=True)
class Answer:
    """One result: of the next call, or the number that was asked for."""

    value: Any


@dataclass(frozen=True)
class Over:
    """Nothing more follows: all is done, was stopped, or failed.

    Attributes:
        error: Why, or None.
    """

    error: BaseException | None = None


def forms(arrays: Sequence[Array]) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Return shape and dtype of each."""
    return tuple((array.shape, array.dtype.str) for array in arrays)


def send_arrays(pipe: Connection, arrays: Sequence[Array]) -> None:
    """Send their bytes."""
    for array in arrays:
        pipe.send_bytes(np.ascontiguousarray(array).data.cast("B"))


def receive_arrays(pipe: Connection, work: Work) -> list[Array]:
    """Return the arrays that follow a request."""
    found: list[Array] = []
    for shape, dtype in work.forms:
        array = np.empty(shape, dtype)
        pipe.recv_bytes_into(array.data.cast("B"))
        found.append(array)
    return found
