"""Explore is drawn in parts: what one page or part changes, the others show."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Locator, Page, expect

expect.set_options(timeout=20_000)


def test_a_change_is_undone_on_another_page_and_made_again_on_the_first(
    app_url: str, new_page: Callable[..., Page]
) -> None:
    page = new_page()
    page.goto(f"{app_url}/?seed=1")
    grid, seed = page.locator(".st-key-grid .mha-plot"), page.get_by_label("seed", exact=True)
    expect(seed).to_have_value("1")
    first = painted(page)
    seed.press("ArrowUp")
    expect(page).to_have_url(re.compile("seed=2"))
    expect(grid).not_to_have_attribute("data-painted", first)
    second = painted(page)

    page.get_by_role("link", name="Masks", exact=True).click()
    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(re.compile("/masks.*seed=1"))

    page.get_by_role("link", name="Explore", exact=True).click()
    expect(seed).to_have_value("1")
    expect(grid).to_have_attribute("data-painted", first)
    seed.press("ArrowUp")
    expect(grid).to_have_attribute("data-painted", second)


def test_what_was_taken_back_is_made_again(app_url: str, new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.goto(f"{app_url}/?seed=1")
    seed, undo, redo = page.get_by_label("seed", exact=True), *map(button(page), ("Undo", "Redo"))
    expect(redo).to_be_disabled()
    seed.press("ArrowUp")
    expect(page).to_have_url(re.compile("seed=2"))
    undo.click()
    expect(seed).to_have_value("1")
    redo.click()
    expect(seed).to_have_value("2")
    expect(page).to_have_url(re.compile("seed=2"))
    expect(redo).to_be_disabled()
    undo.click()
    expect(redo).to_be_enabled()
    seed.press("ArrowUp")  # another way on: what was taken back is gone
    expect(redo).to_be_disabled()


def button(page: Page) -> Callable[[str], Locator]:
    return lambda name: page.get_by_role("button", name=name, exact=True)


def painted(page: Page) -> str:
    return page.locator(".st-key-grid .mha-plot[data-painted]").get_attribute("data-painted") or ""
