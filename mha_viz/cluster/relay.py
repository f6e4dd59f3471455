"""The process that speaks with Ray, for the app's process that started it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from mha_viz.cluster.head import HERE
from mha_viz.cluster.messages import Answer, Array, Count, Over, Work, receive_arrays
from mha_viz.cluster.work import places, results
from mha_viz.errors import DeviceError

IDLE = 300.0  # seconds without work after which it leaves the cluster, and its memory to others


class GivenUp(Exception):
    """The app wants no more, or is gone."""


def serve(pipe: Connection, join: Callable[[], Any]) -> None:
    """Join the cluster and do what is asked for, until nothing is for a while, or the app ends."""
    ray = None
    while pipe.poll(IDLE):
        request = pipe.recv()
        arrays = receive_arrays(pipe, request) if isinstance(request, Work) else []
        if not isinstance(request, (Work, Count)):
            pipe.send(Over())  # a stop that came when all was done
            continue
        try:
            ray = ray or join()
            for value in _answers(ray, request, arrays, pipe):
                pipe.send(Answer(value))
            pipe.send(Over())
        except GivenUp:
            pipe.recv()
            pipe.send(Over())
        except Exception as error:
            pipe.send(Over(error))


def _answers(ray: Any, request: Work | Count, arrays: list[Array], pipe: Connection) -> Iterator[Any]:
    def check() -> None:
        if pipe.poll():
            raise GivenUp

    if isinstance(request, Count):
        yield places(ray, request.device)
    else:
        yield from results(ray, request, arrays, check)


def ray_at(where: str) -> Any:
    """Return the package ray, connected to the cluster.

    Raises:
        DeviceError: This machine may not join.
    """
    import ray

    try:
        ray.init(address=where, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
        message = (
            f"this machine cannot join the Ray cluster at {where} ({reason}): run ray start --address={where} here, "
            f"with the cluster's versions of Python and ray, {HERE}."
        )
        raise DeviceError(message) from None
    return ray


if __name__ == "__main__":
    with suppress(EOFError, OSError):  # the app ended, and Ray ends what was running for it
        serve(Connection(int(sys.argv[2])), lambda: ray_at(sys.argv[1]))
