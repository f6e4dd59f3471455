"""Heavy computations take turns: a few at a time, fairly between sessions, and who waits is told the place in line.

Light ones never come here, so that one person's long sequence does not hold up a class.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count

from mha_viz import environment
from mha_viz.errors import CapacityError

WORKERS_VARIABLE = "MHA_VIZ_WORKERS"
"""Environment variable: how many heavy computations run at a time; by default one for every two cores."""
QUEUE_VARIABLE = "MHA_VIZ_QUEUE"
"""Environment variable: how many may wait for their turn, 64 by default; whoever comes then is refused."""
LOOK_EVERY = 0.2
"""Seconds between two looks at whether somebody who waits still wants to."""


@dataclass(eq=False)
class _Ticket:
    who: str
    since: int
    """When it came, or when its owner's last computation ended: having just had a turn, one begins again at the end."""


class Turns:
    """A bounded line of computations, of which a few run at a time.

    First come, first served; but while one of somebody's computations runs or waits, their next is behind everybody
    else's first. Nobody waits for ever: whoever comes later than a computation's place was given is behind it.

    Args:
        workers: How many run at a time.
        places: How many may wait.
    """

    def __init__(self, workers: int, places: int) -> None:
        self.workers, self.places = workers, places
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._running: list[_Ticket] = []
        self._clock = count(1)
        self._thread = threading.local()

    @contextmanager
    def turn(
        self, who: str, *, tell: Callable[[int], None] | None = None, needless: Callable[[], bool] | None = None
    ) -> Iterator[None]:
        """Wait for a turn and hold it for the block; a turn within a turn of the same thread needs no waiting.

        Args:
            who: Who asks; turns are shared fairly between different ones.
            tell: Called with the place in line, 1 for the next, when it changes and every `LOOK_EVERY` seconds.
                What it raises gives up the place.
            needless: Says whether somebody else has made meanwhile what is waited for: then no turn is needed.

        Raises:
            CapacityError: The line is full.
        """
        if getattr(self._thread, "holds", False):
            yield
            return
        ticket = self._join(who)
        try:
            self._wait(ticket, tell or _nobody, needless or _never)
            self._thread.holds = True
            yield
        finally:
            self._thread.holds = False
            self._leave(ticket)

    def waiting(self) -> list[str]:
        """Return who waits, in the order of their turns."""
        with self._changed:
            return [ticket.who for ticket in self._line()]

    def _join(self, who: str) -> _Ticket:
        with self._changed:
            if len(self._waiting) >= self.places + self.workers - len(self._running):
                raise CapacityError(
                    f"The server is busy: {len(self._waiting)} computations wait for their turn, the most that it "
                    f"lets in ({QUEUE_VARIABLE}); try again in a minute, or choose a shorter sequence."
                )
            ticket = _Ticket(who, next(self._clock))
            self._waiting.append(ticket)
            return ticket

    def _wait(self, ticket: _Ticket, tell: Callable[[int], None], needless: Callable[[], bool]) -> None:
        told = 0
        while not needless():
            with self._changed:
                if self._starts(ticket):
                    return
                if told == self._line().index(ticket) + 1:
                    self._changed.wait(LOOK_EVERY)
                    if self._starts(ticket):
                        return
                told = self._line().index(ticket) + 1
            tell(told)

    def _starts(self, ticket: _Ticket) -> bool:
        """Start a computation if a worker is free and it is its turn; return whether it was."""
        if len(self._running) >= self.workers or self._line()[0] is not ticket:
            return False
        self._waiting.remove(ticket)
        self._running.append(ticket)
        self._changed.notify_all()
        return True

    def _line(self) -> list[_Ticket]:
        """Return those who wait in the order of their turns."""
        seen = Counter(ticket.who for ticket in self._running)
        ranked = []
        for ticket in sorted(self._waiting, key=lambda ticket: ticket.since):
            ranked.append((seen[ticket.who], ticket.since, ticket))
            seen[ticket.who] += 1
        return [ticket for *_, ticket in sorted(ranked, key=lambda entry: entry[:2])]

    def _leave(self, ticket: _Ticket) -> None:
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            else:
                self._running.remove(ticket)
                for own in (other for other in self._waiting if other.who == ticket.who):
                    own.since = next(self._clock)
            self._changed.notify_all()


@cache
def of_server() -> Turns:
    """Return the line of this process, as long as the environment says.

    Raises:
        MhaVizError: A variable holds something else than a number in its range.
    """
    workers = environment.number(WORKERS_VARIABLE, max(1, environment.cores() // 2), low=1, high=1024)
    return Turns(int(workers), int(environment.number(QUEUE_VARIABLE, 64, low=0, high=100_000)))


def _nobody(place: int) -> None:
    """Tell nobody."""


def _never() -> bool:
    return False
