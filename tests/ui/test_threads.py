"""Pages are drawn one after the other, and nobody waits for a page that computes for long."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from mha_viz.ui import threads

SOON = 20.0


class Page(threading.Thread):
    """Somebody whose page is drawn until it is let go."""

    def __init__(self, *, aside: bool = False) -> None:
        super().__init__(daemon=True)
        self._aside = aside
        self.drawing, self.end = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with threads.in_line():
            if self._aside:
                threads.step_aside()
            self.drawing.set()
            self.end.wait(SOON)

    def ends(self) -> None:
        self.end.set()
        self.join(SOON)


def assert_waited_for(page: Page) -> None:
    """See that the next page is drawn when this one ends, and not before."""
    following = Page()
    assert not following.drawing.wait(0.1)
    page.ends()
    assert following.drawing.wait(SOON)
    following.ends()


def test_a_page_waits_for_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", SOON)
    first = Page()
    assert first.drawing.wait(SOON)
    assert_waited_for(first)


def test_no_page_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", 0.05)
    first = Page()
    assert first.drawing.wait(SOON)
    second = Page()
    assert second.drawing.wait(SOON)
    second.ends()  # it was not first, so it lets nobody else in
    monkeypatch.setattr(threads, "PATIENCE", SOON)
    assert_waited_for(first)


def test_who_computes_for_long_lets_the_next_one_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", SOON)
    first = Page(aside=True)
    assert first.drawing.wait(SOON)
    second = Page()
    assert second.drawing.wait(SOON)
    first.ends()  # it has stepped aside already: the second one keeps its place
    assert_waited_for(second)


def test_an_error_on_a_page_lets_the_next_one_draw() -> None:
    with pytest.raises(ZeroDivisionError), threads.in_line():
        1 / 0  # noqa: B018
    page = Page()
    assert page.drawing.wait(0.5)
    page.ends()


def test_outside_of_a_page_stepping_aside_does_nothing() -> None:
    threads.step_aside()
    page = Page()
    assert page.drawing.wait(0.5)
    page.ends()


def test_a_long_computation_lets_a_page_pass_and_goes_on_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    threads.let_pass()  # nobody is drawing
    page = Page()
    assert page.drawing.wait(SOON)
    started = time.monotonic()
    threads.let_pass()
    assert time.monotonic() - started >= threads.POLITENESS
    monkeypatch.setattr(threads, "POLITENESS", SOON)
    threading.Timer(0.1, page.end.set).start()
    threads.let_pass()
    assert time.monotonic() - started < SOON


def test_a_long_computation_lets_those_pass_who_wait_in_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "PATIENCE", SOON)
    monkeypatch.setattr(threads, "POLITENESS", SOON)
    first = Page()
    assert first.drawing.wait(SOON)
    second = Page()
    step = threading.Thread(target=threads.let_pass, daemon=True)
    step.start()
    first.ends()
    assert second.drawing.wait(SOON)
    step.join(0.2)
    assert step.is_alive()
    second.ends()
    step.join(SOON)
    assert not step.is_alive()


def test_giving_way_does_not_end_a_computation() -> None:
    assert threads.give_way() is False
    page = Page()
    assert page.drawing.wait(SOON)
    started = time.monotonic()
    assert threads.give_way() is False
    assert time.monotonic() - started >= threads.POLITENESS
    page.ends()


def _priority_after(work: Callable[[], object]) -> int:
    """Return how much lower the priority of a new thread is once it has done something."""
    found = []

    def run() -> None:
        work()
        found.append(os.getpriority(os.PRIO_PROCESS, 0) - os.getpriority(os.PRIO_PROCESS, os.getpid()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(SOON)
    return found[0]


def _draw_and_give_way() -> None:
    with threads.in_line():
        threads.step_aside()
        threads.give_way()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_threads_that_compute_for_long_stand_back_for_those_that_draw() -> None:
    assert _priority_after(threads.let_pass) == threads.NICE
    assert _priority_after(_draw_and_give_way) == 0
    assert _priority_after(lambda: [threads.let_pass() for _ in range(3)]) == threads.NICE


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_a_thread_started_by_one_that_stands_back_stands_back_as_far() -> None:
    found = []

    def start_another() -> None:
        threads.let_pass()
        found.append(_priority_after(threads.let_pass))

    assert _priority_after(start_another) == threads.NICE
    assert found == [threads.NICE]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
def test_the_main_thread_never_stands_back() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    threads.let_pass()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
