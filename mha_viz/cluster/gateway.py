"""The app's side of the process that speaks with Ray."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import torch

from mha_viz.cluster.head import HERE, address, check
from mha_viz.cluster.messages import Array, Count, Over, Stop, Work, forms, send_arrays
from mha_viz.errors import DeviceError

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")

POLL = 0.05  # seconds between two looks at whether the caller wants to stop
GRACE = 15.0  # seconds in which calls that are given up must have ended
# Ray would try to join for a quarter of an hour.
ONCE = {
    "RAY_gcs_rpc_server_connect_timeout_s": "2",
    "RAY_py_gcs_connect_timeout_s": "5",
    "RAY_NUM_REDIS_GET_RETRIES": "1",
}

_lock = threading.Lock()
_idle: list[Gateway] = []


class Gateway:
    """A process that has joined the cluster, for one caller at a time.

    Attributes:
        where: Address of the cluster.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        ours, theirs = socket.socketpair()
        paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mha_viz.cluster.relay", where, str(theirs.fileno())],
                env={**ONCE, **os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self._pipe = Connection(ours.detach())

    @property
    def lives(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def places(self, device: str, stop: Callable[[], None]) -> int:
        """Return how many calls can run at once on devices of a type, 0 for a type that Ray does not know."""
        self._send(Count(device))
        (found,) = self._answers(stop)
        return int(found)

    def in_order(
        self,
        function: Callable[[S, Sequence[Array], A], T],
        shared: S,
        arrays: Sequence[Array],
        calls: Sequence[A],
        *,
        device: str,
        stop: Callable[[], None],
    ) -> Iterator[T]:
        """Yield `function(shared, arrays, call)` for each call in order; calls whose node dies are done elsewhere.

        Args:
            function: Of a module that each node has too.
            shared: What all calls have in common beside the arrays.
            arrays: Sent once to each node, where they are read-only.
            calls: What differs.
            device: Type of the devices that the calls need: cpu or cuda.
            stop: Called in this thread some times a second; what it raises ends all calls that run or wait.

        Raises:
            DeviceError: There is no cluster, or it was lost.
            CapacityError: A call ran out of its node's memory.
            Exception: What a call itself raised.
        """
        self._send(Work(function, shared, forms(arrays), tuple(calls), device, torch.__version__), arrays)
        return self._answers(stop)

    def end(self) -> None:
        """End the process; Ray ends what runs for it."""
        self._pipe.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: Any, arrays: Sequence[Array] = ()) -> None:
        try:
            self._pipe.send(message)
            send_arrays(self._pipe, arrays)
        except OSError:
            raise self._lost() from None

    def _answers(self, stop: Callable[[], None]) -> Iterator[Any]:
        over = False
        try:
            while True:
                stop()
                if not self._pipe.poll(POLL):
                    continue
                message = self._receive()
                if isinstance(message, Over):
                    over = True
                    if message.error is not None:
                        raise message.error
                    return
                yield message.value
        finally:
            if not over:
                self._give_up()

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            raise self._lost() from None

    def _give_up(self) -> None:
        """Let the calls end, and the process with them if they do not."""
        try:
            self._pipe.send(Stop())
            while self._pipe.poll(GRACE):
                if isinstance(self._pipe.recv(), Over):
                    return
        except (EOFError, OSError):
            pass
        self.end()

    def _lost(self) -> DeviceError:
        self.end()
        return DeviceError(f"the Ray cluster at {self.where} was lost in the middle of the work: try again, {HERE}.")


@contextmanager
def joined() -> Iterator[Gateway]:
    """Lend a way to the cluster for the block, and keep it for the next caller.

    Raises:
        DeviceError: Ray is not installed, or nothing answers at the address.
    """
    where = address()
    check(where)
    with _lock:
        fit = [idle for idle in _idle if idle.lives and idle.where == where]
        for idle in _idle:
            if idle not in fit:
                idle.end()
        _idle[:] = fit
        way = _idle.pop() if _idle else Gateway(where)
    try:
        yield way
    except DeviceError:
        way.end()
        raise
    finally:
        with _lock:
            if way.lives:
                _idle.append(way)


@atexit.register
def disconnect() -> None:
    """Leave the cluster wherever nobody is waiting for it."""
    with _lock:
        while _idle:
            _idle.pop().end()
