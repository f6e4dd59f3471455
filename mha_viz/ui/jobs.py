"""Heavy computations in threads of their own, shared by all sessions that look at the same thing.

A page starts a job, or joins it where somebody else has started it. It waits for one that is over soon; at another it
looks twice a second, and is drawn once more at its end. A job that nobody looks at any more stops by itself.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache

from mha_viz.attention.streamed import Stopped
from mha_viz.errors import MhaVizError
from mha_viz.ui import exhausted, threads, turns
from mha_viz.ui.turns import Turns

UNSEEN = 10.0
"""Seconds after which somebody who has not looked is taken to be gone."""
GRACE = 5.0
"""Seconds that a job has to stop when the server ends."""
FIRST = 0.2
"""Seconds after which its pace tells how long a job takes."""
KEPT = 64
"""Jobs that are remembered after their end, for those who have not seen it yet."""


class Job:
    """One computation: who looks at it, how far it is, and how it ended.

    Attributes:
        subject: What it is about; whoever turns to another subject does not look at it any more.
        running: Whether it goes on.
        share: How much is done, from 0 to 1.
        place: Its place in line while it waits for its turn, else 0.
        failure: Why it failed, in one sentence; empty if it did not.
    """

    def __init__(
        self,
        work: Work,
        who: str,
        line: Turns,
        clock: Callable[[], float] = time.monotonic,
        subject: Hashable = None,
    ) -> None:
        """Start the work in a thread of its own."""
        self.subject = subject
        self.running, self.share, self.place, self.failure = True, 0.0, 0, ""
        self._who, self._line, self._clock = who, line, clock
        self._lock = threading.Lock()
        self._seen = {who: clock()}
        self._left: set[str] = set()
        self._started = clock()
        self._began: float | None = None  # when its first turn came
        self._thread = threading.Thread(target=self._run, args=(work,), name="mha-viz-job", daemon=True)
        self._thread.start()

    def look(self, who: str) -> None:
        """Say that somebody looks at the job, also after having left it."""
        with self._lock:
            self._left.discard(who)
            self._seen[who] = self._clock()

    def leave(self, who: str) -> None:
        """Say that somebody does not want it any more; it stops when nobody does."""
        with self._lock:
            self._left.add(who)
            self._seen.pop(who, None)

    def look_away(self, who: str) -> None:
        """Say that somebody looks at something else now; it stops when nobody looks at it."""
        with self._lock:
            self._seen.pop(who, None)

    def was_left_by(self, who: str) -> bool:
        """Return whether somebody has left it and not come back."""
        return who in self._left

    def stop(self) -> bool:
        """Return whether nobody looks at it any more; the computation asks this before each of its steps.

        While a page is being drawn, it has to wait a moment for the answer: whoever draws needs the interpreter more.
        """
        threads.let_pass()
        with self._lock:
            return all(self._clock() - at > UNSEEN for at in self._seen.values())

    def end(self) -> None:
        """Stop it, whoever looks at it, and wait until it has."""
        with self._lock:
            self._seen.clear()
        self._thread.join(GRACE)

    def progress(self, share: float) -> None:
        """Take how much is done; the computation says this now and then."""
        self.share = share

    def seconds_left(self) -> float | None:
        """Return about how much longer it takes, None as long as that is a guess."""
        if self._began is None or self.place or self.share < 0.02:
            return None
        return (self._clock() - self._began) * (1 / self.share - 1)

    def ends_within(self, seconds: float) -> bool:
        """Return whether it goes on, and as far as one can tell takes no longer than so many seconds in all."""
        spent = self._clock() - self._started
        return self.running and (spent < FIRST or spent <= seconds * self.share)

    def wait(self, seconds: float) -> None:
        """Wait for its end, at most so many seconds."""
        self._thread.join(seconds)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn and hold it for the block.

        Raises:
            Stopped: Nobody looks any more.
            CapacityError: Too many wait.
        """
        with self._line.turn(self._who, tell=self._wait):
            self.place = 0
            self._began = self._clock() if self._began is None else self._began
            yield

    def _wait(self, place: int) -> None:
        self.place = place
        if self.stop():
            raise Stopped

    def _run(self, work: Work) -> None:
        try:
            threads.settle()
            with exhausted.memory():
                work(self)
        except Stopped:
            pass
        except MhaVizError as error:
            self.failure = str(error)
        except BaseException:
            self.failure = "The computation broke off; the server's log says why."
            raise
        finally:
            self.running = False


Work = Callable[[Job], None]


class Jobs:
    """The jobs of a server by what they compute.

    Args:
        line: Where they take turns.
        clock: Seconds, for tests.
    """

    def __init__(self, line: Turns, clock: Callable[[], float] = time.monotonic) -> None:
        self._line, self._clock = line, clock
        self._lock = threading.Lock()
        self._jobs: OrderedDict[Hashable, Job] = OrderedDict()

    def find(self, key: Hashable) -> Job | None:
        """Return the job of a key, running or over; None if there was none, or it is long over."""
        with self._lock:
            return self._jobs.get(key)

    def start(self, key: Hashable, work: Work, who: str, subject: Hashable = None) -> Job:
        """Return the job that runs under a key, started if none does, and say that somebody looks at it.

        Args:
            key: What it computes.
            work: Computes it.
            who: Somebody, who turns away from the jobs about other subjects.
            subject: What it is about.
        """
        with self._lock:
            for other in self._jobs.values():
                if other.subject != subject:
                    other.look_away(who)
            job = self._jobs.get(key)
            if job is None or not job.running:
                job = self._jobs[key] = Job(work, who, self._line, self._clock, subject)
            self._jobs.move_to_end(key)
            over = [old for old, other in self._jobs.items() if not other.running]
            for old in over[: max(0, len(self._jobs) - KEPT)]:
                del self._jobs[old]
        job.look(who)
        return job

    def end(self) -> None:
        """Stop all jobs: a thread that computes while the interpreter ends would break it off with a crash."""
        with self._lock:
            running = [job for job in self._jobs.values() if job.running]
        for job in running:
            job.end()


@cache
def of_server() -> Jobs:
    """Return the jobs of this process.

    Raises:
        MhaVizError: The environment says nonsense about turns.
    """
    found = Jobs(turns.of_server())
    atexit.register(found.end)
    return found
