"""A real Chromium for the tests in this folder, and pages that fail their test on any error they report."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.browser import chromium

FOLDER = Path(__file__).parent
REPORT = pytest.StashKey[pytest.TestReport]()

# Chromium logs a violated policy as an error only in some cases; this makes it one always.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
    console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""

# On a link to a page, Streamlit's front end asks at /page/ for the server before it asks at /.
STREAMLIT_PROBES = re.compile(r"^http://[^/]+/\w+/_stcore/(health|host-config)$")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as a browser test."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the report of the test's own phase, so that fixtures know at teardown whether it failed."""
    report = yield
    if report.when == "call":
        item.stash[REPORT] = report
    return report


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium from the system; without one the test skips, or under CI fails."""
    executable = chromium.find()
    if executable is None:
        if os.environ.get("CI"):
            pytest.fail(chromium.HELP)
        pytest.skip(chromium.HELP)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, headless=True, args=chromium.ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def problems() -> list[str]:
    """Errors seen by the test's pages so far; a test that provokes one on purpose checks it and clears the list."""
    return []


@pytest.fixture
def new_page(
    browser: Browser, app_server: Any, problems: list[str], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """Open pages in fresh contexts: `new_page(color_scheme="dark", viewport={"width": 390, "height": 844})`.

    At the end the test fails on anything in `problems`: console errors, uncaught exceptions, violations of the content
    security policy, requests to other hosts, and tracebacks in the server's log.
    """
    contexts = []
    pages: list[Page] = []
    logged_before = len(app_server.log())

    def open_page(**options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "accept_downloads": True, **options}
        )
        context.add_init_script(REPORT_VIOLATIONS)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        pages.append(page)
        _watch(page, app_server.url, problems)
        return page

    yield open_page
    log = app_server.log()[logged_before:]
    problems += [
        "server: " + line for line in log.splitlines() if re.match(r"Traceback|\w+(\.\w+)*(Error|Exception):", line)
    ]
    report = request.node.stash.get(REPORT, None)
    if problems or (report is not None and report.failed):
        _keep_screenshots(pages, request.node.name, request.config.rootpath / "test-results")
        print(f"the server's log during this test:\n{log}")
    for context in contexts:
        context.close()
    assert not problems, "\n".join(problems)


@pytest.fixture
def page(new_page: Callable[..., Page]) -> Page:
    """One page of 1280 x 800 in a fresh context; see `new_page`."""
    return new_page()


def _watch(page: Page, url: str, problems: list[str]) -> None:
    def on_console(message: ConsoleMessage) -> None:
        address = message.location.get("url", "")
        if message.type == "error" and not STREAMLIT_PROBES.search(address):
            problems.append(f"console: {message.text} ({address})")

    def on_request(request: Request) -> None:
        if not request.url.startswith((url, "data:", "blob:")):
            problems.append(f"request to another host: {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
    page.on("request", on_request)


def _keep_screenshots(pages: list[Page], test: str, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for number, page in enumerate(pages):
        name = re.sub(r"[^\w.-]+", "-", f"{test}-{number}.png")
        page.screenshot(path=folder / name, full_page=True)
        print(f"screenshot: {folder / name}")
