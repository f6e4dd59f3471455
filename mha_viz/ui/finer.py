"""Where a browser that zooms into a pooled figure gets finer cells from, kept by tokens that nobody can guess.

The figure itself shows blocks of L × S cells. Which part is looked at, and how finely, only the browser knows: it asks
by HTTP, beside the page's own messages, so that zooming reruns nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from mha_viz.ui.raster import Codes, Floats

KEPT = 64
"""Figures that the process keeps for its browsers."""


class Cells(NamedTuple):
    """Blocks of one panel, [rows, columns] each: what colours show, what hover says, and their states if any has one.

    `exact` is `shown` itself where colours show what hover says.
    """

    shown: Floats
    exact: Floats
    codes: Codes | None


@dataclass(frozen=True, eq=False)
class Finer:
    """Where the browser gets finer cells of a pooled figure from.

    Attributes:
        rows: L of the whole, in cells.
        columns: S of the whole, in cells.
        side: Cells along a block of the figure, both ways.
        read: Takes rows, columns (slices with both ends, starting at multiples of the third) and the cells along a
            block; returns what each panel shows there, in their order, None for one that has nothing to show. Called
            from several threads. It is kept for long after its page has gone: what is large, it should look up.
        key: Digest of what it reads from: the same for the same picture, and for no other.
        query_tokens: The names of all L queries, if they are more than numbers.
        key_tokens: Likewise of all S keys.
    """

    rows: int
    columns: int
    side: int
    read: Callable[[slice, slice, int], Sequence[Cells | None]]
    key: str
    query_tokens: Sequence[str] = ()
    key_tokens: Sequence[str] = ()

    @cached_property
    def named(self) -> tuple[bool, bool]:
        """Whether queries, and whether keys, have names that are more than their numbers."""
        rows, columns = (any(name != str(i) for i, name in enumerate(t)) for t in (self.query_tokens, self.key_tokens))
        return rows, columns

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the figure's panels, in blocks."""
        return -(-self.rows // self.side), -(-self.columns // self.side)


@dataclass(frozen=True, eq=False)
class Source:
    """A figure's finer cells, and the lowest and highest value on the colour scale of each of its panels."""

    finer: Finer
    ranges: tuple[tuple[float, float], ...]


class Sources:
    """A bounded, thread-safe store of sources by token; the least recently used go first.

    The token is keyed by a secret of the process: whoever asks for cells has been sent it.

    Args:
        most: How many to keep.
    """

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._secret = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._sources: OrderedDict[str, Source] = OrderedDict()

    def put(self, finer: Finer, ranges: Sequence[tuple[float, float]]) -> str:
        """Keep where a figure's cells come from and return its token, 32 hex digits, the same for the same picture."""
        source = Source(finer, tuple(ranges))
        about = repr((finer.key, finer.rows, finer.columns, finer.side, source.ranges)).encode()
        token = hmac.new(self._secret, about, hashlib.sha256).hexdigest()[:32]
        with self._lock:
            self._sources[token] = source
            self._sources.move_to_end(token)
            while len(self._sources) > self.most:
                self._sources.popitem(last=False)
        return token

    def get(self, token: str) -> Source | None:
        """Return what is kept under a token, or None if it is unknown or was dropped."""
        with self._lock:
            source = self._sources.get(token)
            if source is not None:
                self._sources.move_to_end(token)
            return source

    def clear(self) -> None:
        """Drop every source; browsers that ask for one get it again with their next run."""
        with self._lock:
            self._sources.clear()

    def __len__(self) -> int:
        return len(self._sources)


sources = Sources()
"""The sources of this process."""
