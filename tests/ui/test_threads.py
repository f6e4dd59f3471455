"""Pages are drawn one after the other, and nobody waits for a page that computes for long."""

from __future__ import annotations

import threading
import time

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
