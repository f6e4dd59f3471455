"""The Inside page in a real browser: one cursor in all figures, cells that open, steps that play, edits, a phone."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from playwright.sync_api import Page, expect

import mha_viz as mv
from mha_viz.ui import inside_steps
from tests.browser.driving import until
from tests.browser.test_app import PHONE, cell

VECTORS, WEIGHTS, RESULTS = inside_steps.OVERVIEW
LENGTH, HEAD_DIM = 11, 16
SQUARE, OF_HEAD = (LENGTH, LENGTH), (LENGTH, HEAD_DIM)


def opened(page: Page, url: str, link: str = "") -> Page:
    page.goto(f"{url}/inside?{link}")
    for figure in inside_steps.OVERVIEW:
        expect(page.locator(f".st-key-{figure} [data-painted]")).to_be_attached(timeout=30_000)
    return page


def marked_rows(page: Page, figure: str, panel: int) -> list[int]:
    """Return in which rows of a panel the layer of marks is drawn on at the panel's left edge."""
    box = page.locator(f".st-key-{figure} .nsewdrag").nth(panel).bounding_box()
    assert box is not None
    drawn = page.evaluate(
        """([figure, x, y, height]) => {
            const canvas = document.querySelector(`.st-key-${figure} .mha-marks`);
            const frame = canvas.getBoundingClientRect(), ratio = canvas.width / frame.width;
            const left = Math.round((x + 1 - frame.left) * ratio), top = Math.round((y - frame.top) * ratio);
            const pixels = canvas.getContext("2d").getImageData(left, top, 2, Math.round(height * ratio)).data;
            return Array.from({ length: pixels.length / 8 }, (_, i) => pixels[i * 8 + 3]);
        }""",
        [figure, box["x"], box["y"], box["height"]],
    )
    ink = np.array(drawn, dtype=float)
    edges = np.linspace(0, len(ink), LENGTH + 1).round().astype(int)
    middles = [ink[a + (b - a) // 4 : b - (b - a) // 4].max() for a, b in pairwise(edges)]
    return [row for row, most in enumerate(middles) if most > 0]


def sent(page: Page) -> list[object]:
    """Return a list that grows with every message to the server."""
    found: list[object] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.webSocketFrameSent", lambda frame: found.append(frame))
    return found


def has_cross(page: Page, figure: str) -> bool:
    return bool(
        page.evaluate(
            """(figure) => {
                const canvas = document.querySelector(`.st-key-${figure} .mha-marks`);
                const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
                return pixels.some((value, i) => i % 4 === 3 && value > 0);
            }""",
            figure,
        )
    )


def crossed(page: Page) -> list[str]:
    return [figure for figure in inside_steps.OVERVIEW if has_cross(page, figure)]


def test_pointing_at_a_cell_marks_its_query_and_its_key_in_every_figure(page: Page, app_url: str) -> None:
    opened(page, app_url)
    messages = sent(page)
    page.locator(f".st-key-{WEIGHTS} .mha-axes").scroll_into_view_if_needed()
    page.mouse.move(*cell(page, 0, 7, 2, SQUARE, WEIGHTS))
    until(lambda: crossed(page) == [VECTORS, WEIGHTS, RESULTS])
    text = page.locator(f".st-key-{WEIGHTS} .mha-tip").inner_text()
    assert text.splitlines()[1:3] == ["query 7 “the”", "key 2 “sat”"]
    assert page.locator(".mha-tip:visible").count() == 1
    page.mouse.move(*cell(page, 0, 7, 3, SQUARE, WEIGHTS))
    page.mouse.move(2, 2)
    until(lambda: crossed(page) == [])
    assert not messages, "a cursor is no matter of the server"


def test_a_row_of_keys_marks_that_key_and_no_query(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.locator(f".st-key-{VECTORS} .mha-axes").scroll_into_view_if_needed()
    page.mouse.move(*cell(page, 2, 4, 5, OF_HEAD, VECTORS))
    until(lambda: has_cross(page, WEIGHTS))
    text = page.locator(f".st-key-{VECTORS} .mha-tip").inner_text()
    assert text.splitlines()[1:3] == ["key 4 “the”", "dim 5"]
    assert marked_rows(page, VECTORS, 3) == [4], "the values have the same keys"
    assert marked_rows(page, VECTORS, 1) == [], "queries have dimensions, but no keys"
    assert marked_rows(page, WEIGHTS, 0) == []


def test_the_keyboard_moves_the_cursor_of_all_figures(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.locator(f".st-key-{WEIGHTS} .mha-plot").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    until(lambda: marked_rows(page, VECTORS, 1) == [2])
    assert marked_rows(page, VECTORS, 2) == [0]
    page.keyboard.press("Escape")
    until(lambda: crossed(page) == [])


def test_moving_the_cursor_lays_the_page_out_once_however_many_figures_follow(page: Page, app_url: str) -> None:
    opened(page, app_url, "step=softmax")
    page.locator(f".st-key-{WEIGHTS} .mha-axes").scroll_into_view_if_needed()
    page.mouse.move(*cell(page, 0, 0, 0, SQUARE, WEIGHTS))
    until(lambda: has_cross(page, VECTORS))
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def layouts() -> float:
        return next(m["value"] for m in session.send("Performance.getMetrics")["metrics"] if m["name"] == "LayoutCount")

    places = [cell(page, 0, query, key, SQUARE, WEIGHTS) for query in range(LENGTH) for key in (1, 8)]
    page.wait_for_timeout(500)
    before = layouts()
    for place in places:
        page.mouse.move(*place)
        page.wait_for_timeout(30)
    assert layouts() - before <= 1.5 * len(places)


def test_a_click_opens_the_arithmetic_and_fills_the_form(page: Page, app_url: str) -> None:
    opened(page, app_url, "head=1")
    page.locator(f".st-key-{WEIGHTS} .mha-axes").scroll_into_view_if_needed()
    page.mouse.click(*cell(page, 3, 4, 2, SQUARE, WEIGHTS))
    expect(page.get_by_text("Head 1: how much query 4 “the” attends to key 2 “sat”")).to_be_visible()
    page.wait_for_url(re.compile("query=4&key=2"))
    weight = float(mv.run(mv.Scenario()).layers[0].weights[0, 1, 4, 2])
    expect(page.locator(".katex").last).to_contain_text(f"{weight:.3g}")
    form = page.get_by_test_id("stSidebar")
    for label, value in (("head", "1"), ("query i", "4"), ("key j", "2")):
        expect(form.get_by_label(label, exact=True)).to_have_value(value)
    until(lambda: marked_rows(page, VECTORS, 1) == [4])


def test_an_edit_is_applied_listed_and_taken_back(page: Page, app_url: str) -> None:
    opened(page, app_url, "query=4&key=2")
    page.get_by_role("button", name="Apply").click()
    table = page.locator(".mha-table", has_text="what moved")
    expect(table).to_contain_text("softmax of each row")
    expect(page.get_by_label("edits", exact=True)).to_have_value("mask[0, 0, 4, 2] = hide")
    page.wait_for_url(re.compile("edits=mask"))
    page.get_by_role("button", name="Clear edits").click()
    expect(table).to_have_count(0)


@pytest.mark.parametrize("start", [inside_steps.ALL, inside_steps.STEPS[-3].name])
def test_play_goes_on_by_itself_to_the_end_or_until_it_is_paused(page: Page, app_url: str, start: str) -> None:
    opened(page, app_url, f"step={start}")
    names = list(inside_steps.NAMES)
    follow = [inside_steps.named(name) for name in names[names.index(start) + 1 :][:2]]
    page.get_by_role("button", name="Play").click()
    for step in follow:
        assert step is not None
        expect(page.get_by_role("heading", name=step.title, exact=True)).to_be_visible()
    if follow[-1] is inside_steps.STEPS[-1]:
        expect(page.get_by_role("button", name="Play")).to_be_visible()
        return
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    shown = page.get_by_role("heading", level=3).first.inner_text()
    page.wait_for_timeout(3_500)
    assert page.get_by_role("heading", level=3).first.inner_text() == shown


def test_panels_of_different_axes_have_their_own_labels_and_do_not_zoom(page: Page, app_url: str) -> None:
    opened(page, app_url)
    vectors = page.locator(f".st-key-{VECTORS}")
    titles = vectors.locator(".annotation-text").all_text_contents()
    assert [title for title in titles if "," in title or "=" in title] == [
        "query = key = value",
        "query, split into heads",
        "key, split into heads",
        "value, split into heads",
    ]
    assert {"query", "key", "dim"} <= set(titles)
    ranges = "() => JSON.stringify([...document.querySelectorAll('.mha-axes')].map((gd) => gd._fullLayout.xaxis.range))"
    before = page.evaluate(ranges)
    x, y = cell(page, 1, 2, 2, OF_HEAD, VECTORS)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 80, steps=4)
    page.mouse.up()
    assert page.evaluate(ranges) == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_a_panel_below_the_other_and_does_not_scroll_sideways(new_page, app_url, scheme) -> None:
    page = opened(new_page(**PHONE, color_scheme=scheme), app_url, "step=scores&query=4&key=2")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lefts = {round(box["x"]) for d in page.locator(".st-key-inside-step .nsewdrag").all() if (box := d.bounding_box())}
    assert len(lefts) == 1
