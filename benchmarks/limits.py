"""When a measurement is given up: a process that takes more than 4 GB, or more than 60 seconds for one picture."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

import psutil

SECONDS = 60.0
BYTES = 4 * 2**30
LOOK_EVERY = 0.1
LIST_EVERY = 1.0


class Stopped(Exception):
    """A measurement was given up; the text says why."""


class Guard:
    """A thread that follows what processes hold, and ends the one that passes a limit.

    Args:
        subject: What a reader calls these processes.
        processes: Lists them; asked about once a second, because a browser starts and ends its own.
        clock: Whether the time runs from the start; `begin` and `pause` start and stop it.

    Attributes:
        peak: The most that one of the processes was seen to hold, in bytes.
        reason: Why a process was ended; empty if none was.
    """

    def __init__(self, subject: str, processes: Callable[[], list[psutil.Process]], *, clock: bool = False) -> None:
        self.subject, self.peak, self.reason = subject, 0, ""
        self._processes = processes
        self._deadline = time.monotonic() + SECONDS if clock else None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Guard:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None and self.reason and kind is not KeyboardInterrupt:
            raise Stopped(self.reason) from error

    def begin(self) -> None:
        """Start the clock of one picture anew."""
        self._deadline = time.monotonic() + SECONDS

    def pause(self) -> None:
        """Stop the clock."""
        self._deadline = None

    def _follow(self) -> None:
        followed: list[psutil.Process] = []
        listed = -LIST_EVERY
        while not self._over.wait(LOOK_EVERY):
            if time.monotonic() - listed > LIST_EVERY:
                followed, listed = self._processes(), time.monotonic()
            for process in followed:
                self._judge(process)

    def _judge(self, process: psutil.Process) -> None:
        try:
            held = process.memory_info().rss
            self.peak = max(self.peak, held)
            if held > BYTES:
                self.reason = f"{self.subject} over {BYTES / 2**30:.0f} GB"
            elif self._deadline is not None and time.monotonic() > self._deadline:
                self.reason = f"{self.subject} over {SECONDS:.0f} s"
            if self.reason:
                process.kill()
        except psutil.Error:
            return


def renderers() -> list[psutil.Process]:
    """Return the processes of this run's browser that show pages."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "--type=renderer" in process.cmdline():
                found.append(process)
        except psutil.Error:  # it ended meanwhile
            continue
    return found
