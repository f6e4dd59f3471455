"""Pages of a Streamlit server: this app, a plain Plotly grid, and the empty page as the floor."""

from __future__ import annotations

from statistics import median

from playwright.sync_api import Browser

from benchmarks import paint
from benchmarks.limits import Guard, renderers
from benchmarks.opening import fresh_page, painted
from benchmarks.peers.record import Record

HEADS = 8
PRESSES = 7
QUICK = 4096
"""Up to this length a press costs little, and there are more of them than rounds."""


def measured(browser: Browser, name: str, length: int, rounds: int) -> Record:
    """Return the medians of one page, of a server that has shown it once.

    Raises:
        Stopped: A limit was passed.
        playwright.sync_api.Error: The browser gave up.
    """
    with paint.serving(paint.SCRIPTS[name]) as served, Guard("Python", lambda: [served.process]) as server:
        url = paint.address(served, HEADS, length)
        with Guard("page", renderers) as guard:
            opens = [_opened(browser, name, url, guard, presses=0)[0] for _ in range(rounds)]
            presses = max(PRESSES, rounds) if length <= QUICK else rounds
            first, changes = _opened(browser, name, url, guard, presses=presses)
        counted = [*opens[1:], first]  # the first opening of all warmed the server up
        return Record(name, length, median(changes), median(counted), server.peak, guard.peak)


def _opened(browser: Browser, name: str, url: str, guard: Guard, *, presses: int) -> tuple[float, list[float]]:
    """Open the page; return seconds to its picture, and those of some changes of its seed."""
    with fresh_page(browser) as page:
        guard.begin()
        seconds = painted(page, url, paint.READY[name])
        guard.pause()
        return seconds, [times[0] for times in paint.changes(page, presses)] if presses else []
