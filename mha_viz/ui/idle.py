"""What a server does now and then: collect garbage, and give memory back when nobody is there."""

from __future__ import annotations

import asyncio
import gc
import math
import time
from contextlib import suppress
from itertools import count

from streamlit import runtime
from streamlit.runtime import RuntimeState

from mha_viz import environment, remember
from mha_viz.ui import finer, malloc, values

IDLE_VARIABLE = "MHA_VIZ_IDLE_SECONDS"
"""Environment variable: how long nobody must have been there before what is kept for everyone is dropped."""
EVERY = 1.0
"""Seconds between two looks. What is new in a second takes 25 ms to walk when sixty people are there."""
THOROUGH = 300
"""At every so many looks all is looked at, and otherwise what is new: walking what is kept takes 0.3 s and more."""


def idle_seconds() -> float:
    """Return how long nobody must have been there, from the environment.

    Raises:
        MhaVizError: The variable holds something else than a number in its range.
    """
    return environment.number(IDLE_VARIABLE, 60, low=0, high=10**9)


async def tidy() -> None:
    """Collect garbage every second, and release memory once each time that everybody has left; ends when cancelled."""
    gc.disable()  # left alone, it walks all that is new again and again, and nobody is served meanwhile
    try:
        await _look_after()
    finally:
        gc.enable()


async def _look_after() -> None:
    inhabited, left = False, math.inf
    for look in count(1):
        await asyncio.sleep(EVERY)
        drop_sessions()
        if somebody_is_here():
            inhabited, left = True, math.inf
        elif inhabited:
            inhabited, left = False, time.monotonic()
        elif time.monotonic() - left >= idle_seconds():
            release()
            left = math.inf
        if look % THOROUGH == 0:
            gc.unfreeze()
        gc.collect()
        gc.freeze()


def somebody_is_here() -> bool:
    """Return whether a browser is connected to this process."""
    return runtime.exists() and runtime.get_instance().state == RuntimeState.ONE_OR_MORE_SESSIONS_CONNECTED


def release() -> None:
    """Drop the runs, figures and arrays that are kept for everyone, and hand the memory back to the system."""
    remember.forget()
    values.store.clear()
    finer.sources.clear()
    gc.unfreeze()
    gc.collect()
    malloc.hand_back()


def drop_sessions() -> None:
    """Drop the sessions to which nobody came back in time; Streamlit itself does so only when the next one is left.

    Their small objects, scattered over the memory of a class, would keep much of it from being handed back.
    """
    with suppress(AttributeError, RuntimeError):  # Streamlit has no public name for them, or is not running
        runtime.get_instance()._session_mgr._session_storage._cache.expire()  # type: ignore[attr-defined]
