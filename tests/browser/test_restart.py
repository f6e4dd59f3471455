"""A page whose server was started again: it goes on, with what it shows, and does what is asked of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.process import free_port, serving

PAGES = {"": "seed", "inside": "seed", "masks": "head", "compare": "head"}  # and a control that each has in sight


def _there(page: Page, query: str) -> None:
    page.wait_for_function("query => location.search.includes(query)", arg=query, timeout=30_000)


@pytest.mark.parametrize(("path", "name"), PAGES.items(), ids=["explore", "inside", "masks", "compare"])
def test_a_page_outlives_its_server_and_the_first_change_after_it_is_made(
    path: str, name: str, browser: Browser, tmp_path: Path
) -> None:
    port = free_port()
    context = browser.new_context()
    context.set_default_timeout(30_000)
    try:
        page = context.new_page()
        with serving(tmp_path / "first.log", port=port) as app:
            page.goto(f"{app.url}/{path}?source=normal&num_heads=8&seed=5")
            field = page.get_by_label(name, exact=True).first
            expect(field).to_be_visible()
            page.wait_for_timeout(1_000)
        with serving(tmp_path / "second.log", port=port) as app:
            page.wait_for_selector("[data-testid=stStatusWidget]", state="detached")
            page.wait_for_timeout(3_000)  # until the page has its connection back
            for value in ("6", "7"):
                field.fill(value)
                field.press("Enter")
                _there(page, f"{name}={value}")
                expect(field).to_have_value(value)
                assert {"num_heads=8", "source=normal"} <= set(page.evaluate("location.search")[1:].split("&"))
            assert app.faults() == []
    finally:
        context.close()
