"""The numbers in a figure that the app has sent: what `mha_viz.ui.wire` packs, read back as the browser reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Figure:
    """One figure of the plot component.

    Attributes:
        heading: The line above it.
        panels: The exact values of each panel, float32 [rows, columns].
    """

    heading: str
    panels: tuple[NDArray[np.float32], ...]


def figure(data: bytes, fetch: Callable[[str], bytes] | None = None) -> Figure:
    """Read a figure.

    Args:
        data: What the component was sent.
        fetch: Returns the values that wait on the server under a digest.
    """
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    body = data[4 + length :]
    shapes = [(panel["rows"], panel["columns"]) for panel in header["figure"]["panels"]]
    places = [panel["values"] for panel in header["frame"]["panels"]]
    found = (_values(place, body, fetch) for place in places)
    panels = tuple(np.frombuffer(v, "<f4").reshape(shape) for v, shape in zip(found, shapes, strict=True))
    return Figure(header["frame"]["heading"], panels)


def _values(place: Any, body: bytes, fetch: Callable[[str], bytes] | None) -> bytes:
    if isinstance(place, str):
        if fetch is None:
            raise ValueError("the values wait on the server, and nothing was given to fetch them")
        return fetch(place)
    start, count = place
    return body[start : start + count]
