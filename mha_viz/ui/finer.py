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

KEPT = 256
"""Figures that the process keeps for its browsers."""

FEW = 2048
"""Names along an axis up to which all are sent with the figure; more come with the cells that they belong to."""


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
        query_tokens: The names of all L queries; mere numbers count as none.
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
    def sent(self) -> tuple[Sequence[str], Sequence[str]]:
        """The names of queries and of keys that travel with the figure: those that are few, and more than numbers."""
        rows, columns = (names if len(names) <= FEW and _told(names) else () for names in self._names)
        return rows, columns

    @cached_property
    def named(self) -> tuple[bool, bool]:
        """Whether the names of queries, and of keys, come with finer cells."""
        rows, columns = (len(names) > FEW and _told(names) for names in self._names)
        return rows, columns

    @property
    def _names(self) -> tuple[Sequence[str], Sequence[str]]:
        return self.query_tokens, self.key_tokens

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the figure's panels, in blocks."""
        return -(-self.rows // self.side), -(-self.columns // self.side)

    def __eq__(self, other: object) -> bool:
        """Return whether it is of the same picture."""
        return isinstance(other, Finer) and self._about == other._about

    def __hash__(self) -> int:
        return hash(self._about)

    @property
    def _about(self) -> tuple[str, int, int, int]:
        return self.key, self.rows, self.columns, self.side


def digest(about: object) -> str:
    """Return the key of a picture, from what it shows."""
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _told(names: Sequence[str]) -> bool:
    """Return whether names are more than the numbers of what they name."""
    return any(name != str(i) for i, name in enumerate(names))


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
        about = repr((finer._about, source.ranges)).encode()
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
