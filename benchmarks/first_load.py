"""The first load of a page: what is sent, and how long until the first heatmap is painted.

The server has shown the page once. Cold is a browser that has never been there, warm one that opens the page again in
a new tab. Bytes are those on the wire, compressed where the server compresses, of all requests and of the socket.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from statistics import median
from typing import Any

from playwright.sync_api import Browser, Page

from benchmarks import paint
from benchmarks.opening import chromium_browser, fresh_page, painted
from benchmarks.table import Measured, Table

HEADS, LENGTH = 8, 64
ROUNDS = 5
PAGES = (paint.APP, paint.CHART)
FIRST = {**paint.READY, paint.APP: "return document.querySelectorAll('[data-painted]').length >= 1"}
QUIET_MS = 2_000
"""How long after the first heatmap what is still sent counts: widgets come after it."""
TEXT, BINARY = 1, 2  # opcodes of a websocket's frames


@dataclass
class Load:
    """One loading of a page.

    Attributes:
        seconds: From the start of the navigation to the first heatmap.
        requests: How many files were sent; what the browser had in its cache does not count.
        fetched: Bytes of these files.
        pushed: Bytes that came over the socket.
    """

    seconds: float = 0.0
    requests: int = 0
    fetched: int = 0
    pushed: int = 0


def load(page: Page, url: str, ready: str) -> Load:
    """Open an address in a new page and count what is sent."""
    found = Load()
    session = page.context.new_cdp_session(page)

    def on_file(event: dict[str, Any]) -> None:
        found.requests += event["encodedDataLength"] > 0
        found.fetched += int(event["encodedDataLength"])

    def on_frame(event: dict[str, Any]) -> None:
        payload, opcode = event["response"]["payloadData"], event["response"]["opcode"]
        found.pushed += len(base64.b64decode(payload) if opcode == BINARY else payload.encode())

    session.on("Network.loadingFinished", on_file)
    session.on("Network.webSocketFrameReceived", on_frame)
    session.send("Network.enable")
    found.seconds = painted(page, url, ready)
    page.wait_for_timeout(QUIET_MS)
    return found


def cold_and_warm(browser: Browser, url: str, ready: str) -> tuple[Load, Load]:
    """Load a page in a browser without a cache, and again in the same one."""
    with fresh_page(browser) as page:
        cold = load(page, url, ready)
        page.close()
        return cold, load(page.context.new_page(), url, ready)


def main(rounds: int = ROUNDS) -> Measured:
    caption = f"{HEADS} heads × {LENGTH}², medians of {rounds}; kB are 1,000 bytes."
    columns = ["page, browser's cache", "first heatmap", "files sent", "files, kB", "socket, kB"]
    table = Table(columns, caption).show()
    with chromium_browser() as browser:
        for name in PAGES:
            with paint.serving(paint.SCRIPTS[name]) as served:
                url = paint.address(served, HEADS, LENGTH)
                found = [cold_and_warm(browser, url, FIRST[name]) for _ in range(rounds + 1)][1:]
            for number, cache in enumerate(("empty", "filled")):
                table.add(f"{name}, {cache}", *_cells([loads[number] for loads in found]))
        return Measured([table], versions={"Chromium": browser.version})


def _cells(loads: list[Load]) -> list[str]:
    seconds = f"{median(load.seconds for load in loads) * 1e3:,.0f} ms"
    requests = f"{median(load.requests for load in loads):.0f}"
    sizes = [median(getattr(load, name) for load in loads) / 1e3 for name in ("fetched", "pushed")]
    return [seconds, requests, *(f"{size:,.0f}" for size in sizes)]
