"""Setting change to painted heatmaps in Chromium: the app, `st.plotly_chart` of the same arrays, and the empty page.

A change is one press of the arrow key in the number field `seed`. It is painted two animation frames after every
figure on the page has been drawn anew, and settled two frames after the script has ended and the page has taken in
everything it sent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import chromium

ROOT = Path(__file__).resolve().parent.parent
SIZES = [(4, 16), (8, 64), (8, 512)]
PAGES = {"floor": "benchmarks/pages/floor.py", "app": "app.py", "st.plotly_chart": "benchmarks/pages/chart.py"}
WARM_UP = 3

WATCH = """
() => {
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
  addEventListener("keydown", event => { pressed = event.timeStamp; }, {capture: true, once: true});
  const frames = (name) =>
    requestAnimationFrame(() => requestAnimationFrame(() => { times[name] = performance.now() - pressed; }));
  const look = () => {
    if (pressed !== null && times.painted === undefined && painted()) { times.painted = null; frames("painted"); }
    if (times.painted !== undefined && idle()) { times.settled = null; frames("settled"); }
    if (times.settled === undefined) requestAnimationFrame(look);
  };
  window.times = times;
  requestAnimationFrame(look);
}
"""


@contextmanager
def serving(script: str, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)]
    options = ["--server.address", "127.0.0.1", "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
                    break
                except OSError:
                    time.sleep(0.1)
            yield url
        finally:
            server.terminate()


def opened(browser: Browser, url: str) -> Page:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(url)
    page.wait_for_selector("[data-painted], .heatmaplayer image", state="attached", timeout=60_000)
    page.locator("input[aria-label=seed]").wait_for(timeout=30_000)
    page.wait_for_timeout(1_500)
    page.locator("input[aria-label=seed]").focus()
    return page


def change(page: Page) -> tuple[float, float]:
    """Press the key once; return milliseconds to painted and to settled."""
    page.evaluate(WATCH)
    page.keyboard.press("ArrowUp")
    page.wait_for_function("() => window.times.settled > 0 && window.times.painted > 0", timeout=60_000, polling=20)
    times: dict[str, float] = page.evaluate("() => window.times")
    page.wait_for_timeout(250)
    return times["painted"], times["settled"]


def main(rounds: int) -> None:
    heads_of = [f"{name} {what}" for name in PAGES for what in ("painted", "settled")]
    print("setting change, ms".ljust(20) + "".join(f"{name:>24}" for name in heads_of) + f"{'app / floor':>20}")
    with sync_playwright() as playwright, serving_all() as urls:
        browser = playwright.chromium.launch(executable_path=str(chromium.find()), args=chromium.ARGUMENTS)
        for heads, length in SIZES:
            query = f"source=normal&query_len={length}&num_heads={heads}&mask=full"
            times = {name: measured(browser, f"{url}/?{query}", rounds) for name, url in urls.items()}
            middle = {name: [median(t[i] for t in found) for i in (0, 1)] for name, found in times.items()}
            cells = "".join(f"{middle[name][i]:24.0f}" for name in PAGES for i in (0, 1))
            ratios = " ".join(f"{middle['app'][i] / middle['floor'][i]:9.2f}" for i in (0, 1))
            print(f"{heads} x {length}^2".ljust(20) + cells + ratios, flush=True)
        browser.close()
    print()


def measured(browser: Browser, url: str, rounds: int) -> list[tuple[float, float]]:
    """Return the times of one page alone in the browser, so that no other page paints meanwhile."""
    page = opened(browser, url)
    found = [change(page) for _ in range(WARM_UP + rounds)][WARM_UP:]
    page.close()
    return found


@contextmanager
def serving_all() -> Iterator[dict[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(serving(path, 8710 + i)) for i, (name, path) in enumerate(PAGES.items())}
