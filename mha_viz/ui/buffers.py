"""A message for the browser: a JSON header, then arrays as bytes, each array once and at a multiple of 8."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
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


def packed(head: bytes, body: Body) -> bytes:
    """Return a message: the header's length (u32, little-endian), the header, and the buffers."""
    head += b" " * (-(len(head) + 4) % 8)
    return b"".join([len(head).to_bytes(4, "little"), head, *body.parts])


def as_json(header: Mapping[str, Any] | str) -> bytes:
    """Return a header, or a text, in JSON; arrays become lists.

    Raises:
        TypeError: it holds something that JSON and NumPy do not have.
    """
    try:
        return orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY, default=_listed)
    except orjson.JSONEncodeError as error:
        raise TypeError(f"a figure for the component must hold plain values and arrays, but: {error}.") from None


def _listed(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):  # strided or of a type that orjson does not take
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError  # orjson says which type it was
