"""Arrays as the bytes that follow a figure's header, each array once and at a multiple of 8."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Body:
    """The buffers after the header, each array once."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self._converted: dict[tuple[int, str], tuple[Any, NDArray[Any]]] = {}
        self._places: dict[int, list[int]] = {}

    def array(self, source: Any, dtype: str) -> NDArray[Any]:
        """Return an array or Plotly's base64 form of one as a contiguous array, the same one for the same source."""
        key = (id(source), dtype)
        if key not in self._converted:  # the source is kept too: its id stays its own while this object lives
            self._converted[key] = (source, np.ascontiguousarray(unpacked(source), dtype=dtype))
        return self._converted[key][1]

    def place(self, array: NDArray[Any]) -> list[int]:
        """Append an array and return its [offset, bytes]; an array that is here already is not appended again."""
        if id(array) not in self._places:
            padding = -array.nbytes % 8
            self._places[id(array)] = [self.size, array.nbytes]
            self._converted[(id(array), "")] = (array, array)
            self.parts += [array.tobytes(), bytes(padding)]
            self.size += array.nbytes + padding
        return self._places[id(array)]


def unpacked(source: Any) -> NDArray[Any]:
    """Return an array, or Plotly's base64 form of one, as an array."""
    if isinstance(source, Mapping):  # what go.Figure.to_dict() makes of an array
        shape = [int(n) for n in str(source["shape"]).split(",")]
        return np.frombuffer(base64.b64decode(source["bdata"]), dtype=np.dtype(source["dtype"])).reshape(shape)
    return np.asarray(source)
