"""Calls of one function on the nodes of a cluster, by a process that has joined it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

from mha_viz.cluster.messages import Array, Work
from mha_viz.cluster.node import perform
from mha_viz.errors import CapacityError, DeviceError

POLL = 0.05  # seconds between two looks at whether the caller wants to stop
GRACE = 5.0  # seconds in which calls that are given up should have ended
ATTEMPTS = 3  # Ray does a call again whose node dies; this is for what all calls share
RESOURCES = {"cpu": "CPU", "cuda": "GPU"}


def places(ray: Any, device: str) -> int:
    """Return how many calls can run at once on devices of a type, 0 for a type that Ray does not know."""
    name = RESOURCES.get(device)
    return int(ray.cluster_resources().get(name, 0)) if name else 0


def results(ray: Any, work: Work, arrays: list[Array], check: Callable[[], None]) -> Iterator[Any]:
    """Yield what the calls return, in their order.

    Args:
        ray: The package, connected.
        work: The function and its calls.
        arrays: What all calls share.
        check: Called some times a second; what it raises ends all calls that run or wait.

    Raises:
        DeviceError: The cluster loses again and again what it needs, or a node lacks this program.
        CapacityError: A node had too little memory.
        Exception: What a call itself raised.
    """
    left, reason = deque(work.calls), ""
    for _ in range(ATTEMPTS):
        try:
            for result in _attempted(ray, work, arrays, left, check):
                left.popleft()
                yield result
            return
        except ray.exceptions.RayTaskError as error:
            raise _own(error) from None
        except ray.exceptions.OutOfMemoryError:
            message = "a node of the Ray cluster had too little memory for a part of the work: give its tasks more."
            raise CapacityError(message) from None
        except ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    raise DeviceError(f"the Ray cluster failed {ATTEMPTS} times at the same part of the work ({reason}).")


def _attempted(
    ray: Any, work: Work, arrays: list[Array], calls: deque[Any], check: Callable[[], None]
) -> Iterator[Any]:
    task = _task(ray, work.device)
    held, waiting = ray.put((work.shared, arrays)), deque(calls)
    most = 2 * max(1, places(ray, work.device))  # no more, so that the work of several people takes turns
    running: deque[Any] = deque()
    try:
        while waiting or running:
            while waiting and len(running) < most:
                running.append(task.remote(work.function, held, waiting.popleft(), work.version))
            check()
            try:
                result = ray.get(running[0], timeout=POLL)
            except ray.exceptions.GetTimeoutError:
                continue
            running.popleft()
            yield result
    finally:
        _end(ray, list(running))


def _end(ray: Any, running: list[Any]) -> None:
    with suppress(ray.exceptions.RayError):
        for call in running:
            ray.cancel(call)
        if running:
            ray.wait(running, num_returns=len(running), timeout=GRACE, fetch_local=False)


@cache
def _task(ray: Any, device: str) -> Any:
    """Return the function that Ray calls, one for each type of device: the cluster's head keeps every one for good."""
    gpus = int(device == "cuda")
    # Unlimited calls of a process: Ray would start one for every call that has a GPU, and each takes seconds to begin.
    return ray.remote(num_cpus=1, num_gpus=gpus, max_calls=0)(perform)


def _own(error: Any) -> BaseException:
    cause: BaseException = error.cause
    if isinstance(cause, ImportError):
        return DeviceError(f"a node of the Ray cluster lacks this program ({cause}): install mha-viz on all nodes.")
    return cause
