"""Threads that share the work of a pass, each computing alone.

On a busy machine torch's own threads wait for each other after every step.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache
from typing import TypeVar

import torch

from mha_viz import environment
from mha_viz.attention.streamed.signals import Stop

T = TypeVar("T")
Task = Callable[[Stop], T]

THREADS_VARIABLE = "MHA_VIZ_THREADS"
"""Environment variable: threads of a pass over a long sequence, by default as many as one operation of torch has."""
MOST = 16
"""Threads by default at most: each holds some MiB of its own, and a pass is to need no more than 200 MB."""
POLL = 0.05  # seconds between two looks at whether the caller wants to stop

_starting = threading.Lock()


class Stopped(Exception):
    """A pass was asked to stop, and did; what it had found is gone."""


def count() -> int:
    """Return how many threads share a pass.

    Raises:
        MhaVizError: The environment says nonsense.
    """
    return int(environment.number(THREADS_VARIABLE, min(MOST, torch.get_num_threads()), low=1, high=1024))


def in_order(tasks: Sequence[Task[T]], threads: int, stop: Stop) -> Iterator[T]:
    """Yield what tasks return, in their order.

    Args:
        tasks: Each is given a function that says whether to give up.
        threads: How many may run at once; 1 runs them in this thread.
        stop: Called now and then in this thread, and in those that compute before each of their steps.

    Raises:
        Stopped: `stop` returned True; no task is running any more.
    """
    if threads == 1:
        for task in tasks:
            if stop():
                raise Stopped
            yield task(stop)
        return
    with _starting:
        pool = _pool(threads)
    given_up = threading.Event()
    waiting = deque(tasks)
    running: deque[Future[T]] = deque()
    try:
        while waiting or running:
            # Few at a time, so that the passes of several people take turns.
            while waiting and len(running) < 2 * threads:
                running.append(pool.submit(waiting.popleft(), lambda: given_up.is_set() or stop()))
            while not running[0].done():
                if stop():
                    raise Stopped
                wait([running[0]], timeout=POLL)
            yield running.popleft().result()
    finally:
        given_up.set()
        for future in running:
            future.cancel()
        wait(running)


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return threads in which torch computes alone, started at once.

    `torch.set_num_threads` sets the number of the calling thread, and that of all threads which have not asked yet;
    the second is put back as soon as the last of ours has started.
    """
    before = torch.get_num_threads()
    barrier = threading.Barrier(threads + 1)

    def alone() -> None:
        torch.get_num_threads()
        torch.set_num_threads(1)
        barrier.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="mha-viz-stream")
    for _ in range(threads):
        pool.submit(alone)
    barrier.wait()
    torch.set_num_threads(before)
    return pool
