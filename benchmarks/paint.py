"""Setting change to painted heatmaps in Chromium: the app, `st.plotly_chart` of the same arrays, and the empty page.

A change is one press of the arrow key in the number field `seed`. It is painted two animation frames after every
figure on the page has been drawn anew, and settled two frames after the script has ended and the page has taken in
everything it sent.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page

from benchmarks import process
from benchmarks.limits import SECONDS, Stopped
from benchmarks.opening import chromium_browser, fresh_page, painted
from benchmarks.process import App
from benchmarks.table import Measured, Table

FLOOR, APP, CHART = "empty page", "this app", "st.plotly_chart"
SCRIPTS = {FLOOR: "benchmarks/pages/floor.py", APP: "app.py", CHART: "benchmarks/pages/chart.py"}
SIZES = [(4, 16), (8, 64), (8, 512)]
WARM_UP = 3
MESSAGE_MB = 4_000
"""What the server may send at once: more than Streamlit's default, so that a long sequence is not refused for it."""

READY = {
    FLOOR: "return document.querySelectorAll('[data-painted]').length >= 1",
    APP: "return document.querySelectorAll('[data-painted]').length >= 2",
    CHART: "const cells = document.querySelectorAll('.heatmaplayer image');"
    "return cells.length >= 1 && [...cells].every((cell) => cell.getAttribute('href'))",
}

WATCH = """
(limit) => {
  const drawn = () => [...document.querySelectorAll("[data-painted]")].map(e => e.dataset.painted)
    .concat([...document.querySelectorAll(".heatmaplayer image")].map(e => (e.getAttribute("href") || "").slice(-99)));
  const before = drawn();
  const painted = () => {
    const now = drawn();
    return before.length > 0 && now.length >= before.length && now.every((value, i) => value !== before[i]);
  };
  const idle = () => document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
  const times = {};
  let pressed = null;
  let end;
  window.finished = new Promise((resolve) => { end = resolve; });
  setTimeout(() => end(null), limit);
  addEventListener("keydown", event => { pressed = event.timeStamp; }, {capture: true, once: true});
  const frames = (name, then) => requestAnimationFrame(() => requestAnimationFrame(() => {
    times[name] = performance.now() - pressed;
    then?.();
  }));
  const look = () => {
    if (pressed !== null && times.painted === undefined && painted()) { times.painted = null; frames("painted"); }
    if (times.painted !== undefined && idle()) { times.settled = null; frames("settled", () => end(times)); }
    if (times.settled === undefined) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


@contextmanager
def serving(script: str) -> Iterator[App]:
    """Serve a script with the app's own configuration, but for the size of messages, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ("--server.maxMessageSize", str(MESSAGE_MB))
        with process.serving(Path(folder) / "server.log", flags=flags, script=script) as served:
            yield served


def address(served: App, heads: int, length: int) -> str:
    return f"{served.url}/?source=normal&query_len={length}&num_heads={heads}&mask=full"


def change(page: Page) -> tuple[float, float]:
    """Press the key once; return seconds to painted and to settled."""
    page.evaluate(WATCH, SECONDS * 1e3)
    page.keyboard.press("ArrowUp")
    times: dict[str, float] | None = page.evaluate("() => finished")  # asking again and again would take its time
    if times is None:
        raise Stopped(f"no picture in {SECONDS:.0f} s")
    page.wait_for_timeout(250)
    return times["painted"] / 1e3, times["settled"] / 1e3


def changes(page: Page, rounds: int) -> list[tuple[float, float]]:
    """Return the times of some changes on a page that shows its first picture."""
    seed = page.locator("input[aria-label=seed]")
    seed.wait_for(timeout=SECONDS * 1e3)
    page.wait_for_timeout(1_500)
    seed.focus()
    return [change(page) for _ in range(WARM_UP + rounds)][WARM_UP:]


def measured(browser: Browser, name: str, served: App, heads: int, length: int, rounds: int) -> list[float]:
    """Return the median seconds to painted and to settled of one page alone in the browser."""
    with fresh_page(browser) as page:
        painted(page, address(served, heads, length), READY[name])
        found = changes(page, rounds)
    return [median(times[i] for times in found) for i in (0, 1)]


def main(rounds: int, sizes: list[tuple[int, int]] = SIZES) -> Measured:
    columns = [f"{name} {what}" for name in SCRIPTS for what in ("painted", "settled")]
    caption = f"Setting change, ms, medians of {rounds}."
    found = Table(["heads × tokens²", *columns, "app / floor, painted"], caption).show()
    with chromium_browser() as browser, ExitStack() as stack:
        servers = {name: stack.enter_context(serving(script)) for name, script in SCRIPTS.items()}
        for heads, length in sizes:
            times = {n: measured(browser, n, served, heads, length, rounds) for n, served in servers.items()}
            cells = [f"{times[name][i] * 1e3:,.0f}" for name in SCRIPTS for i in (0, 1)]
            found.add(f"{heads} × {length:,}²", *cells, f"{times[APP][0] / times[FLOOR][0]:.2f}")
        versions = {"Chromium": browser.version}
    return Measured([found], versions=versions)
