"""Caches that are bounded by the bytes they hold, so that many people's settings cannot fill the memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Condition
from typing import Any, ParamSpec, TypeVar

import cachetools

P = ParamSpec("P")
R = TypeVar("R")

_caches: list[tuple[Condition, cachetools.LRUCache[Hashable, Any]]] = []


def remembered(
    megabytes: float, *, key: Callable[P, Hashable], size: Callable[[R], int]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that its last results are kept and shared, up to some megabytes of them.

    Several threads that ask for one result wait for one computation. A result larger than the bound is returned and
    not kept. What comes out is shared: it must never be changed.

    Args:
        megabytes: The bound, in units of 2**20 bytes.
        key: Makes the cache key from the function's arguments.
        size: Returns how many bytes a result holds.
    """
    cache: cachetools.LRUCache[Hashable, R] = cachetools.LRUCache(megabytes * 2**20, getsizeof=size)
    condition = Condition()
    _caches.append((condition, cache))
    return cachetools.cached(cache, key=key, condition=condition)


def forget() -> None:
    """Drop what all functions of this process remember; what is asked for next is computed anew."""
    for condition, cache in _caches:
        with condition:
            cache.clear()
