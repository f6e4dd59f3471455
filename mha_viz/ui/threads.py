"""How pages share the processor: every run of a page has a thread of its own, and all of them one interpreter."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

PATIENCE = 1.0
"""Seconds that a page waits for the one before it: some wait for the processor longer than they use it."""
POLITENESS = 0.1
"""Seconds that a step of a long computation waits at most, so that it goes on in the most crowded class."""
HANDOVER = 0.001
"""Seconds for the next in line to wake up and take its place: asking at once would take it from it again."""
NICE = 10
"""What is added to the nice value of a thread of a long computation: the system then prefers those that draw."""

_line = threading.Lock()
_waiting: set[int] = set()  # threads that stand in it
_mine = threading.local()


def settle() -> None:
    """Make OpenMP use torch's number of threads in the calling thread.

    It would otherwise start a pool for every core at the thread's first product, 10 ms on two cores. Asking torch for
    its number hands it over.
    """
    torch.get_num_threads()


@contextmanager
def in_line() -> Iterator[None]:
    """Draw a page, or a part of one, after the one that is being drawn; or after `PATIENCE` seconds at its side.

    Threads that want the interpreter at once take it from each other every few milliseconds, and the thread that
    receives and sends waits behind all of them: a class of sixty then waits several times longer than in line.
    """
    settle()
    _waiting.add(threading.get_ident())
    try:
        _mine.first = _line.acquire(timeout=PATIENCE)
    finally:
        _waiting.discard(threading.get_ident())
    try:
        yield
    finally:
        step_aside()


def let_pass() -> None:
    """Wait a moment while pages are being drawn: to be called between the steps of a long computation.

    From then on the system lets those that draw go first, too.
    """
    _stand_back()
    until = time.monotonic() + POLITENESS
    while _line.acquire(timeout=max(0.0, until - time.monotonic())):
        _line.release()
        if not _waiting or time.monotonic() > until:
            return
        time.sleep(HANDOVER)


def _stand_back() -> None:
    """Lower the priority of a thread that only computes, once. It still gets all of a core that nobody else wants."""
    draws = hasattr(_mine, "first") or threading.current_thread() is threading.main_thread()
    if sys.platform != "linux" or draws or hasattr(_mine, "stands_back"):
        return
    _mine.stands_back = True
    usual = os.getpriority(os.PRIO_PROCESS, os.getpid())  # not this thread's, which has that of the one that started it
    with suppress(OSError):  # a sandbox may forbid it
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), usual + NICE)


def give_way() -> bool:
    """Return False, after `let_pass`: to be asked whether to stop by a long computation that does not."""
    let_pass()
    return False


def step_aside() -> None:
    """Let the next page be drawn: what follows takes long, and mostly without the interpreter."""
    if getattr(_mine, "first", False):
        _mine.first = False
        _line.release()
