"""Exact values of large heatmaps, kept on the server until the browser asks for them.

What is drawn needs one byte a cell; the four exact bytes are only needed where somebody points. So large arrays wait
here, under a digest that cannot be guessed, and the browser fetches a panel's values when the pointer enters it.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Floats = NDArray[np.float32]

PREFIX = "/mha-viz"
"""Where the routes of the component live, under the server's base path."""

BUDGET = 256 * 2**20
"""Bytes of arrays that the process keeps for its browsers, by default."""


class ValueStore:
    """A bounded, thread-safe store of float32 arrays by digest; the least recently used go first.

    Only references are held, so an array that a cache holds too costs nothing more. The digest is keyed by a secret of
    the process: whoever asks for values has been sent their digest.

    Args:
        budget: bytes of arrays to keep. The newest array is kept even if it alone is larger.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.budget = budget
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._arrays: OrderedDict[str, Floats] = OrderedDict()
        self._bytes = 0

    def put(self, array: Floats) -> str:
        """Keep a float32 array [L, S] and return its digest, 32 hex digits; equal arrays have equal digests."""
        array = np.ascontiguousarray(array, dtype="<f4")
        # SHA-256 runs at over 1 GB/s on current processors, faster than hashlib's other choices.
        digest = hashlib.sha256(self._secret + repr(array.shape).encode())
        digest.update(array.data)
        name = digest.hexdigest()[:32]
        with self._lock:
            if name not in self._arrays:
                self._arrays[name] = array
                self._bytes += array.nbytes
            self._arrays.move_to_end(name)
            while self._bytes > self.budget and len(self._arrays) > 1:
                self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        return name

    def get(self, digest: str) -> Floats | None:
        """Return the array kept under a digest, or None if it is unknown or was dropped."""
        with self._lock:
            array = self._arrays.get(digest)
            if array is not None:
                self._arrays.move_to_end(digest)
            return array

    def clear(self) -> None:
        """Drop every array; browsers that ask for one get it again with their next run."""
        with self._lock:
            self._arrays.clear()
            self._bytes = 0

    def __len__(self) -> int:
        return len(self._arrays)

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays that are kept now."""
        return self._bytes


store = ValueStore()
"""The store of this process."""

_serving = threading.Event()


def set_serving(active: bool) -> None:
    """Say whether this process serves the component's routes; the server's start-up calls this with True."""
    if active:
        _serving.set()
    else:
        _serving.clear()


def serving() -> bool:
    """Return whether this process serves the component's routes."""
    return _serving.is_set()


def route() -> Route:
    """Return the route `GET /mha-viz/values/{digest}`: raw little-endian float32, or 404 if they are gone."""
    return Route(f"{PREFIX}/values/{{digest}}", _values, methods=["GET"])


async def _values(request: Request) -> Response:
    array = store.get(request.path_params["digest"])
    if array is None:
        return Response("These values are no longer kept; they are sent again with the next run.", status_code=404)
    headers = {
        "content-encoding": "identity",  # floats hardly shrink: keeps the server's gzip away from them
        "cache-control": "private, max-age=3600, immutable",
    }
    return Response(array.tobytes(), media_type="application/octet-stream", headers=headers)
