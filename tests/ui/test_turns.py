"""Turns: how many compute at a time, in which order, what those who wait are told, and when the line is full."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mha_viz.errors import CapacityError, MhaVizError
from mha_viz.ui import turns
from mha_viz.ui.turns import Turns

SOON = 10.0  # seconds after which a test gives up waiting for another thread


class GaveUp(BaseException):
    """What a page raises when a newer setting has come."""


class Visitor:
    """A thread that asks for a turn, keeps it until `finish`, and writes down what happens."""

    def __init__(self, line: Turns, who: str, log: list[str], name: str = "", needless: bool = False) -> None:
        self.places: list[int] = []
        self.leave, self.needless = threading.Event(), threading.Event()
        self._told, self._runs, self._finish = threading.Event(), threading.Event(), threading.Event()
        self._line, self._who, self._log, self._name = line, who, log, name or who
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        try:
            with self._line.turn(self._who, tell=self._tell, needless=self.needless.is_set):
                self._log.append(self._name)
                self._runs.set()
                assert self._finish.wait(SOON)
        except GaveUp:
            self._log.append(f"{self._name} gave up")

    def _tell(self, place: int) -> None:
        self.places.append(place)
        self._told.set()
        if self.leave.is_set():
            raise GaveUp

    def waits(self) -> Visitor:
        assert self._told.wait(SOON)
        return self

    def runs(self) -> Visitor:
        assert self._runs.wait(SOON)
        return self

    def finish(self) -> None:
        self._finish.set()
        self._thread.join(SOON)
        assert not self._thread.is_alive()


@contextmanager
def taken(line: Turns, who: str = "first") -> Iterator[Visitor]:
    """Hold the only turn for the block, then let everybody else through."""
    holder = Visitor(line, who, []).runs()
    try:
        yield holder
    finally:
        holder.finish()


def wait_until(true: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(int(SOON / 0.01)):
        if true():
            return
        tick.wait(0.01)
    raise AssertionError("it did not come true")


def test_no_more_run_at_a_time_than_there_are_workers() -> None:
    line, log = Turns(2, 10), []
    first, second = Visitor(line, "a", log).runs(), Visitor(line, "b", log).runs()
    third = Visitor(line, "c", log).waits()
    assert line.waiting() == ["c"]
    assert log == ["a", "b"]
    second.finish()
    third.runs().finish()
    first.finish()
    assert log == ["a", "b", "c"]
    assert line.waiting() == []


def test_who_comes_first_is_served_first_and_is_told_every_place() -> None:
    line, log = Turns(1, 10), []
    with taken(line) as holder:
        waiting = [Visitor(line, who, log).waits() for who in "abc"]
        assert [visitor.places[0] for visitor in waiting] == [1, 2, 3]
        holder.finish()
        for place, visitor in zip((2, 1), waiting, strict=False):
            visitor.runs()
            wait_until(lambda place=place: waiting[2].places[-1] == place)
            visitor.finish()
        waiting[2].runs().finish()
    assert log == ["a", "b", "c"]
    assert list(dict.fromkeys(waiting[2].places)) == [3, 2, 1]


def test_a_second_request_goes_behind_the_first_ones_of_others() -> None:
    line, log = Turns(1, 10), []
    with taken(line, "greedy") as holder:
        more = [Visitor(line, "greedy", log, name).waits() for name in ("greedy 2", "greedy 3")]
        other = Visitor(line, "other", log).waits()
        assert other.places[0] == 1
        assert line.waiting() == ["other", "greedy", "greedy"]
        wait_until(lambda: more[0].places[-1] == 2)
        holder.finish()
        other.runs().finish()
        for visitor in more:
            visitor.runs().finish()
    assert log == ["other", "greedy 2", "greedy 3"]


def test_what_telling_raises_gives_up_the_place() -> None:
    line, log = Turns(1, 10), []
    with taken(line):
        first, second = Visitor(line, "a", log).waits(), Visitor(line, "b", log).waits()
        first.leave.set()
        wait_until(lambda: line.waiting() == ["b"])
        wait_until(lambda: second.places[-1] == 1)
        first.finish()
    second.runs().finish()
    assert log == ["a gave up", "b"]


def test_nobody_waits_for_what_somebody_else_has_made_meanwhile() -> None:
    line, log = Turns(1, 10), []
    with taken(line):
        visitor = Visitor(line, "a", log).waits()
        visitor.needless.set()
        visitor.runs().finish()
        assert log == ["a"]
    assert line.waiting() == []


def test_a_full_line_refuses_in_a_sentence_and_goes_on() -> None:
    line, log = Turns(1, 1), []
    with taken(line):
        visitor = Visitor(line, "a", log).waits()
        with pytest.raises(CapacityError) as caught, line.turn("b"):
            pass
    assert str(caught.value) == (
        "The server is busy: 1 computations wait for their turn, the most that it lets in (MHA_VIZ_QUEUE); try again "
        "in a minute, or choose a shorter sequence."
    )
    visitor.runs().finish()
    with line.turn("b"):
        assert line.waiting() == []


def test_without_places_to_wait_a_free_worker_still_serves() -> None:
    line = Turns(1, 0)
    with line.turn("a"):
        pass
    with taken(line), pytest.raises(CapacityError), line.turn("a"):
        pass


def test_a_turn_within_a_turn_does_not_wait_for_itself() -> None:
    line = Turns(1, 10)
    with line.turn("a"), line.turn("a"):
        visitor = Visitor(line, "b", []).waits()
    visitor.runs().finish()


def test_an_error_inside_gives_the_turn_back() -> None:
    line = Turns(1, 10)
    with pytest.raises(ZeroDivisionError), line.turn("a"):
        raise ZeroDivisionError
    with line.turn("b"):
        assert line.waiting() == []


def test_many_threads_all_get_a_turn_and_never_two_at_once() -> None:
    line, inside, most, done = Turns(1, 100), [0], [0], []

    def ask(i: int) -> None:
        for _ in range(20):
            with line.turn(f"session {i % 5}"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1
        done.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert sorted(done) == list(range(16))
    assert most == [1]


def test_the_servers_line_is_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_WORKERS", "3")
    monkeypatch.setenv("MHA_VIZ_QUEUE", "7")
    turns.of_server.cache_clear()
    assert (turns.of_server().workers, turns.of_server().places) == (3, 7)
    turns.of_server.cache_clear()


@pytest.mark.parametrize(
    ("variable", "text", "allowed"),
    [
        ("MHA_VIZ_WORKERS", "0", "1 to 1,024"),
        ("MHA_VIZ_WORKERS", "many", "1 to 1,024"),
        ("MHA_VIZ_QUEUE", "-1", "0 to 100,000"),
        ("MHA_VIZ_QUEUE", "nan", "0 to 100,000"),
    ],
)
def test_what_is_no_such_number_is_refused(
    variable: str, text: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    turns.of_server.cache_clear()
    with pytest.raises(MhaVizError) as caught:
        turns.of_server()
    assert str(caught.value) == f"{variable} must be a number from {allowed}, not {text!r}."


def test_the_default_is_a_worker_for_every_two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MHA_VIZ_WORKERS", raising=False)
    for cores, workers in ((1, 1), (2, 1), (9, 4)):
        monkeypatch.setattr("mha_viz.environment.cores", lambda cores=cores: cores)
        turns.of_server.cache_clear()
        assert turns.of_server().workers == workers
    turns.of_server.cache_clear()
