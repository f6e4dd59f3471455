"""The Compare page in a real browser: linked panels, the table of moved cells, presets, links, phone, dark theme."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import mha_viz as mv
from mha_viz.attention.compare import Selected, compare
from mha_viz.scenario import Scenario
from tests.browser.test_app import PHONE, cell

expect.set_options(timeout=20_000)
LENGTH = 11


def opened(page: Page, url: str, link: str = "") -> Page:
    page.goto(f"{url}/compare?{link}")
    expect(page.locator(".st-key-compare [data-painted]")).to_be_attached()
    expect(page.get_by_role("button", name="Swap left and right")).to_be_attached()
    return page


def panels(page: Page) -> Locator:
    return page.locator(".st-key-compare .annotation-text", has_text=re.compile("^(left|right)"))


def at(page: Page, panel: int, query: int, key: int) -> tuple[float, float]:
    return cell(page, panel, query, key, (LENGTH, LENGTH), "compare")


def exact(left: Scenario, right: Scenario) -> np.ndarray:
    return compare(*(Selected(mv.run(s)) for s in (left, right))).change.numpy()


def test_three_panels_share_one_cursor_and_hover_tells_the_change(page: Page, app_url: str) -> None:
    opened(page, app_url)
    expect(panels(page)).to_have_text(["left: causal", "right: full", "right − left"])
    page.mouse.move(*at(page, 2, 0, 6))
    change = exact(Scenario(), Scenario(mask="full"))[0, 6]
    tip = page.locator(".st-key-compare .mha-tip")
    expect(tip).to_contain_text("right − left")
    expect(tip).to_contain_text(f"change {change:.6g}")
    page.mouse.move(*at(page, 0, 0, 6))
    expect(tip).to_contain_text("masked by attn_mask")


def test_zooming_one_panel_zooms_all(page: Page, app_url: str) -> None:
    opened(page, app_url)
    start, end = at(page, 0, 1, 1), at(page, 0, 4, 4)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()
    ranges = """() => [...document.querySelectorAll(".st-key-compare .mha-axes")].flatMap((gd) =>
        ["xaxis", "xaxis2", "xaxis3"].map((name) => gd._fullLayout[name].range[1]))"""
    first, second, third = page.evaluate(ranges)
    assert first == second == third < LENGTH - 1


def test_a_clicked_cell_is_told_on_both_sides_and_stands_in_the_link(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.mouse.click(*at(page, 1, 3, 6))
    expect(page.get_by_text("query 3 “on”, key 6 “because”")).to_be_visible()
    expect(page.get_by_text(re.compile(r"left 0 \(masked\), right 0\.\d+ · change \+0\.\d+"))).to_be_visible()
    page.wait_for_url(re.compile("query=3&key=6"))


def test_a_row_of_the_table_chooses_its_cell(page: Page, app_url: str) -> None:
    opened(page, app_url)
    table = page.get_by_test_id("stDataFrame")
    expect(table.locator("canvas").first).to_be_visible()
    box = table.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 40, box["y"] + 35 * 1.5)
    page.mouse.click(box["x"] + 40, box["y"] + 35 * 1.5)
    page.wait_for_url(re.compile("query=0&key=0"))


def test_a_preset_and_a_change_of_one_side_reach_picture_and_link(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.locator(".st-key-w-compare input").click()
    page.get_by_role("option", name="two heads").click()
    expect(panels(page)).to_have_text(["left: head 0", "right: head 1", "right − left"])
    head = page.get_by_label("right: head", exact=True)
    head.fill("3")
    head.press("Enter")
    expect(panels(page)).to_have_text(["left: head 0", "right: head 3", "right − left"])
    page.wait_for_url(re.compile("left=head%3D0&right=head%3D3"))
    again = page.context.new_page()
    again.goto(page.url)
    expect(panels(again)).to_have_text(["left: head 0", "right: head 3", "right − left"])


def test_the_difference_can_be_downloaded(page: Page, app_url: str, tmp_path: Path) -> None:
    opened(page, app_url, f"right={quote('seed=1')}")
    page.get_by_text("Download and share").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="difference .npz").click()
    with np.load(io.BytesIO(Path(download.value.path()).read_bytes()), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["change"], exact(Scenario(), Scenario(seed=1)))


def test_what_cannot_be_compared_says_so_and_keeps_its_controls(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/compare?right={quote('text=one two')}")
    expect(page.get_by_test_id("stAlert")).to_contain_text("the left is 11 × 11 and the right is 2 × 2")
    expect(page.get_by_label("right: text", exact=True)).to_have_value("one two")


@pytest.mark.parametrize("options", [PHONE, {"color_scheme": "dark"}], ids=["phone", "dark"])
def test_phone_and_dark_theme_show_the_same_and_fit(
    new_page: Callable[..., Page], app_url: str, options: dict[str, object]
) -> None:
    page = opened(new_page(**options), app_url, "query=0&key=6")
    expect(panels(page)).to_have_text(["left: causal", "right: full", "right − left"])
    expect(page.get_by_text("query 0 “the”, key 6 “because”")).to_be_visible()
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
