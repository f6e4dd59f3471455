"""Setting change to painted heatmaps in Chromium: the app, `st.plotly_chart` of the same arrays, and the empty page.

A change is one press of the arrow key in the number field `seed`. It is painted when everything on the page that is
drawn from it has been drawn anew, the script has ended, and two animation frames have passed.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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
  const settled = () => {
    const now = drawn();
    const idle = document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning";
    return idle && now.length >= before.length && now.every((value, i) => value !== before[i]);
  };
  window.painted = null;
  let pressed = null;
  addEventListener("keydown", event => { pressed = event.timeStamp; }, {capture: true, once: true});
  const look = () => {
    if (pressed !== null && settled())
      requestAnimationFrame(() => requestAnimationFrame(() => { window.painted = performance.now() - pressed; }));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
"""


@contextmanager
def serving(script: str, port: int) -> Iterator[str]:
    command = [sys.executable, "-m", "streamlit", "run", script, "--server.port", str(port)]
    options = ["--server.address", "127.0.0.1", "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    environment = {"PYTHONPATH": str(ROOT)}
    import os

    with subprocess.Popen(
        [*command, *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
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


def opened(browser: Browser, url: str, name: str) -> Page:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.goto(url)
    if name == "app":
        page.get_by_text("Run", exact=True).click()
    page.wait_for_selector("[data-painted], .heatmaplayer image", state="attached", timeout=60_000)
    page.locator("input[aria-label=seed]").wait_for(timeout=30_000)
    page.wait_for_timeout(1_500)
    page.locator("input[aria-label=seed]").focus()
    return page


def change(page: Page) -> float:
    page.evaluate(WATCH)
    page.keyboard.press("ArrowUp")
    page.wait_for_function("() => window.painted !== null", timeout=60_000, polling=20)
    milliseconds: float = page.evaluate("() => window.painted")
    page.wait_for_timeout(250)
    return milliseconds


def main(rounds: int) -> None:
    print(f"{'setting change to painted, ms':34}" + "".join(f"{name:>17}" for name in PAGES) + f"{'app / floor':>13}")
    with sync_playwright() as playwright, serving_all() as urls:
        browser = playwright.chromium.launch(executable_path=str(chromium.find()), args=chromium.ARGUMENTS)
        for heads, length in SIZES:
            query = f"source=normal&query_len={length}&num_heads={heads}&mask=full"
            pages = {name: opened(browser, f"{url}/?{query}", name) for name, url in urls.items()}
            times: dict[str, list[float]] = {name: [] for name in pages}
            for turn in range(WARM_UP + rounds):
                for name, page in pages.items():
                    page.bring_to_front()
                    found = change(page)
                    if turn >= WARM_UP:
                        times[name].append(found)
            middle = {name: median(found) for name, found in times.items()}
            ratio = median(app / floor for app, floor in zip(times["app"], times["floor"], strict=True))
            cells = "".join(f"{middle[name]:17.0f}" for name in PAGES)
            print(f"{heads} x {length}^2".ljust(34) + cells + f"{ratio:13.2f}")
            for page in pages.values():
                page.close()
        browser.close()
    print()


@contextmanager
def serving_all() -> Iterator[dict[str, str]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {name: stack.enter_context(serving(path, 8710 + i)) for i, (name, path) in enumerate(PAGES.items())}
