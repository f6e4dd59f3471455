"""A page opened in Chromium, from the start of the navigation to its painted picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from benchmarks.limits import SECONDS, Stopped
from tests.browser import chromium

VIEWPORT: ViewportSize = {"width": 1400, "height": 1000}
HOLDS = 0.9
"""Seconds in which a picture must not change any more to count as final."""

LOOK = """
(() => {
  const ready = () => { %s };
  const frame = (then) => requestAnimationFrame(then);
  const look = () => {
    let found = false;
    try { found = ready(); } catch { /* the page is not that far yet */ }
    if (found) frame(() => frame(() => { window.paintedAt = performance.timeOrigin + performance.now(); }));
    else setTimeout(look, 10);
  };
  look();
})();
"""


@contextmanager
def chromium_browser() -> Iterator[Browser]:
    """Start the Chromium that the browser tests drive."""
    executable = chromium.find()
    if executable is None:
        raise SystemExit(chromium.HELP)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=chromium.ARGUMENTS)
        yield browser
        browser.close()


@contextmanager
def fresh_page(browser: Browser) -> Iterator[Page]:
    """Open a page with an empty cache and a process of its own."""
    context = browser.new_context(viewport=VIEWPORT)
    try:
        yield context.new_page()
    finally:
        context.close()


def painted(page: Page, url: str, ready: str) -> float:
    """Open an address; return seconds until two animation frames after its picture was in the page.

    Args:
        page: A page that nothing was opened in.
        url: The address.
        ready: The body of a JavaScript function that says whether the picture is there.
    """
    page.add_init_script(LOOK % ready)
    begun = time.time()
    page.goto(url, wait_until="commit", timeout=SECONDS * 1e3)
    while not (at := page.evaluate("() => window.paintedAt")):
        if time.time() - begun > SECONDS:
            raise Stopped(f"no picture in {SECONDS:.0f} s")
        time.sleep(0.02)
    return float(at) / 1e3 - begun


def final(page: Page, begun: float, earliest: float) -> float:
    """Return seconds from `begun` until the picture on the screen did not change any more.

    Some libraries go on drawing after all elements are there. What counts is when the first capture of the final
    picture was begun, so that the capture's own time does not.

    Args:
        page: A page whose elements are there.
        begun: When the navigation started, in seconds since the epoch.
        earliest: The result if the first capture shows the final picture already.
    """
    session = page.context.new_cdp_session(page)

    def capture() -> str:
        shot = session.send("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True})
        return str(shot["data"])

    since, shown = earliest, capture()
    held = time.time()
    while time.time() - held < HOLDS:
        if time.time() - begun > SECONDS:
            raise Stopped(f"still drawing after {SECONDS:.0f} s")
        time.sleep(0.05)
        begins = time.time()
        now = capture()
        if now != shown:
            since, shown, held = begins - begun, now, time.time()
    return since
