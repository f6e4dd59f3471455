"""Jobs: started once for all who look, stopped when nobody does, failing in a sentence, taking turns."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from mha_viz.attention.streamed import Stopped
from mha_viz.errors import CapacityError, InputError
from mha_viz.ui import jobs
from mha_viz.ui.jobs import Job, Jobs
from mha_viz.ui.turns import Turns
from tests.ui.test_turns import SOON, taken, wait_until


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Work:
    """A computation that goes on until it is let go or told to stop."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()
        self.calls, self.stopped = 0, False

    def __call__(self, job: Job) -> None:
        self.calls += 1
        with job.turn():
            self.started.set()
            while not self.release.wait(0.01):
                if job.stop():
                    self.stopped = True
                    raise Stopped


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(clock: Clock) -> Jobs:
    return Jobs(Turns(2, 10), clock)


def ended(job: Job) -> Job:
    wait_until(lambda: not job.running)
    return job


def test_everybody_who_looks_at_one_thing_shares_one_job(here: Jobs) -> None:
    work = Work()
    first = here.start("key", work, "a")
    assert here.start("key", work, "b") is first
    assert here.find("key") is first
    assert here.find("another") is None
    work.release.set()
    ended(first)
    assert work.calls == 1
    assert not first.failure


def test_a_job_that_is_over_is_started_anew(here: Jobs) -> None:
    work = Work()
    work.release.set()
    first = ended(here.start("key", work, "a"))
    second = ended(here.start("key", work, "a"))
    assert second is not first
    assert work.calls == 2


def test_who_cancels_stops_it_only_if_nobody_else_looks(here: Jobs) -> None:
    work = Work()
    job = here.start("key", work, "a")
    here.start("key", work, "b")
    assert work.started.wait(SOON)
    job.leave("a")
    assert job.was_left_by("a")
    assert not job.was_left_by("b")
    assert not job.stop()
    job.leave("b")
    ended(job)
    assert work.stopped
    assert not job.failure


def test_who_turns_to_another_subject_lets_go_of_all_jobs_about_the_last(here: Jobs) -> None:
    works = [Work() for _ in range(4)]
    alone, shared, same = (here.start(key, work, "a", "one") for key, work in zip("xyz", works, strict=False))
    here.start("y", works[1], "b", "one")
    other = here.start("w", works[3], "a", "two")
    assert [job.stop() for job in (alone, shared, same, other)] == [True, False, True, False]
    assert not alone.was_left_by("a")  # nobody pressed a button: there is nothing to say
    for job in (alone, same):
        ended(job)
    for work in works:
        work.release.set()
    ended(shared)


def test_who_comes_back_is_counted_again(here: Jobs) -> None:
    work = Work()
    job = here.start("key", work, "a")
    here.start("key", work, "b")
    job.leave("a")
    assert here.start("key", work, "a") is job
    assert not job.was_left_by("a")
    job.leave("b")
    assert not job.stop()
    work.release.set()
    ended(job)


def test_a_job_that_nobody_looks_at_stops(here: Jobs, clock: Clock) -> None:
    work = Work()
    job = here.start("key", work, "a")
    assert work.started.wait(SOON)
    clock.now += jobs.UNSEEN
    job.look("a")
    clock.now += jobs.UNSEEN
    assert not job.stop()
    clock.now += 1
    ended(job)
    assert work.stopped
    assert not job.was_left_by("a")


def test_a_cancelled_job_gives_up_its_place_in_line(clock: Clock) -> None:
    line = Turns(1, 10)
    here, work = Jobs(line, clock), Work()
    with taken(line):
        job = here.start("key", work, "a")
        wait_until(lambda: job.place == 1)
        job.leave("a")
        ended(job)
    assert not work.started.is_set()
    assert line.waiting() == []


def test_a_job_takes_its_turn_and_then_has_no_place(clock: Clock) -> None:
    line = Turns(1, 10)
    here, work = Jobs(line, clock), Work()
    with taken(line):
        job = here.start("key", work, "a")
        wait_until(lambda: job.place == 1)
        assert not work.started.is_set()
    assert work.started.wait(SOON)
    assert job.place == 0
    work.release.set()
    ended(job)


def test_a_full_line_is_one_sentence(clock: Clock) -> None:
    line = Turns(1, 0)
    with taken(line):
        job = ended(Jobs(line, clock).start("key", Work(), "a"))
    assert job.failure.startswith("The server is busy: 0 computations wait for their turn")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InputError("size must be from 64 to 4,096, not 5."), "size must be from 64 to 4,096, not 5."),
        (CapacityError("Too much."), "Too much."),
        (MemoryError(), "The server ran out of memory during this computation, which was dropped"),
    ],
)
def test_what_goes_wrong_is_one_sentence(here: Jobs, error: Exception, said: str) -> None:
    def work(job: Job) -> None:
        raise error

    assert ended(here.start("key", work, "a")).failure.startswith(said)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_in_the_program_is_told_and_logged(here: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: logged.append(args.exc_type))

    def work(job: Job) -> None:
        raise ZeroDivisionError

    assert ended(here.start("key", work, "a")).failure == "The computation broke off; the server's log says why."
    wait_until(lambda: logged == [ZeroDivisionError])


def test_the_time_left_follows_from_what_is_done(here: Jobs, clock: Clock) -> None:
    work = Work()
    job = here.start("key", work, "a")
    assert work.started.wait(SOON)
    assert job.seconds_left() is None
    clock.now += 3
    job.progress(0.25)
    assert job.seconds_left() == pytest.approx(9)
    work.release.set()
    ended(job)


def test_its_pace_tells_whether_a_job_is_over_soon(here: Jobs, clock: Clock) -> None:
    work = Work()
    job = here.start("key", work, "a")
    clock.now += jobs.FIRST / 2
    assert job.ends_within(1)  # too early to tell
    clock.now += jobs.FIRST / 2
    assert not job.ends_within(1)  # nothing is done
    clock.now = 0.5
    job.progress(0.5)
    assert job.ends_within(1)
    assert not job.ends_within(0.9)
    work.release.set()
    job.wait(SOON)
    assert not job.running
    assert not job.ends_within(1)


def test_who_waits_for_a_job_goes_on_after_a_while(here: Jobs) -> None:
    work = Work()
    job = here.start("key", work, "a")
    job.wait(0.01)
    assert job.running
    work.release.set()
    ended(job)


def test_old_jobs_are_forgotten_and_running_ones_never(here: Jobs) -> None:
    work, short = Work(), Work()
    short.release.set()
    running = here.start("runs", work, "a")
    for number in range(jobs.KEPT + 5):
        ended(here.start(number, short, "a"))
    assert here.find("runs") is running
    assert here.find(0) is None
    assert here.find(jobs.KEPT + 4) is not None
    work.release.set()
    ended(running)


def test_a_server_has_its_jobs_once() -> None:
    assert jobs.of_server() is jobs.of_server()


def test_the_end_of_the_server_stops_all_jobs_first(here: Jobs) -> None:
    works = [Work(), Work(), Work()]
    started = [here.start(number, work, "a") for number, work in enumerate(works)]
    works[0].started.wait(SOON)
    here.end()
    assert not any(job.running for job in started)
    assert all(work.stopped for work in works if work.calls and work.started.is_set())


def test_a_process_that_ends_in_the_middle_of_a_job_ends_well() -> None:
    script = """
import time
from mha_viz.attention import long
from mha_viz.scenario import Scenario
from mha_viz.ui import long_results
layer = long_results.Layer("key", long.run(Scenario(source="normal", query_len=60_000)).layers[0].streamed, 0)
job = long_results.PICTURES.start(layer, "somebody")
while job.share == 0: time.sleep(0.01)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
