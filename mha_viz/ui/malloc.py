"""Memory that glibc has: kept for the next picture while somebody looks at one, and handed back when nobody does."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

KEPT = 2**25
"""Bytes of the largest blocks that are kept when they are free; glibc allows no more."""
IN_ALL = 2**28
"""Bytes that are kept at the end of what the process has."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)


def keep() -> None:
    """Keep what large arrays leave behind.

    Left alone, glibc hands it back at once, and the next array's first touch of each 4 KiB is a fault: 25,000 of them
    in a change at 4,096 tokens, a sixth of its time. With 64 MiB in all, those of a pass over one head of 16,384 tokens
    were handed back before the next head: 50,000 faults more.
    """
    _call("mallopt", _MMAP_THRESHOLD, KEPT)
    _call("mallopt", _TRIM_THRESHOLD, IN_ALL)


def hand_back() -> None:
    """Hand all that is free back to the system."""
    _call("malloc_trim", 0)


def _call(name: str, *numbers: int) -> None:
    """Call a function of the C library, where there is one of this name: another library has its own ways."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            getattr(ctypes.CDLL(None), name)(*numbers)
