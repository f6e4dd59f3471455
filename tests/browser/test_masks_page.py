"""The Masks page in a real browser: painting, a pitfall from the gallery to its fix, a phone, the dark theme."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page, expect

import mha_viz as mv
from tests.browser.test_app import PHONE, cell, titles

expect.set_options(timeout=20_000)
LENGTH = 11


def opened(page: Page, url: str, link: str = "") -> Page:
    page.goto(f"{url}/masks?{link}")
    expect(page.locator(".st-key-masks [data-painted]")).to_be_attached()
    expect(page.locator(".st-key-given [data-painted]")).to_be_attached()
    return page


def panels(page: Page) -> Locator:
    return page.locator(".st-key-masks .annotation-text", has_text=re.compile("^(before the fix|as .*|difference)$"))


def verdict(page: Page) -> Locator:
    return page.get_by_test_id("stAlert").first


def at(page: Page, panel: int, query: int, key: int) -> tuple[float, float]:
    return cell(page, panel, query, key, (LENGTH, LENGTH), "masks")


def test_a_newcomer_sees_what_is_wrong_and_fixes_it(page: Page, app_url: str) -> None:
    opened(page, app_url)
    expect(verdict(page)).to_contain_text("The mask is inverted")
    expect(panels(page)).to_have_text(["as given", "as intended", "difference"])
    page.get_by_role("button", name="Fix it").click()
    expect(verdict(page)).to_contain_text("The mask given does what was intended, in every cell.")
    expect(panels(page)).to_have_text(["before the fix", "as given", "as intended", "difference"])
    page.wait_for_url(re.compile("fixed=inverted-mask"))


def test_a_painted_cell_becomes_part_of_text_and_link_and_can_be_undone(page: Page, app_url: str) -> None:
    opened(page, app_url, "mistake=none")
    mask = page.get_by_label("mask", exact=True)
    page.get_by_role("button", name="Brush").click()
    page.mouse.click(*at(page, 1, 2, 5))
    expect(mask).to_have_value("causal ^ cells(2, 5, 5)")
    page.wait_for_url(re.compile(r"mask=causal\+%5E\+cells"))
    page.mouse.click(*at(page, 1, 2, 6))
    expect(mask).to_have_value("causal ^ cells(2, 5, 6)")
    page.get_by_role("button", name="Undo").click()
    expect(mask).to_have_value("causal ^ cells(2, 5, 5)")
    page.get_by_role("button", name="Redo").click()
    expect(mask).to_have_value("causal ^ cells(2, 5, 6)")
    again = page.context.new_page()
    again.goto(page.url)
    expect(again.get_by_label("mask", exact=True)).to_have_value("causal ^ cells(2, 5, 6)")


def test_a_painted_rectangle_allows_exactly_its_cells(page: Page, app_url: str) -> None:
    opened(page, app_url, "mistake=none&mask=causal")
    page.get_by_role("button", name="Rectangle").click()
    page.mouse.move(*at(page, 1, 0, 8))
    page.mouse.down()
    page.mouse.move(*at(page, 1, 2, 9), steps=4)
    page.mouse.up()
    mask = page.get_by_label("mask", exact=True)
    expect(mask).to_have_value(re.compile("cells"))
    expected = mv.mask("causal").allowed(LENGTH)
    expected[0:3, 8:10] = True
    assert torch.equal(mv.mask(mask.input_value()).allowed(LENGTH), expected)


def test_a_pitfall_from_the_gallery_shows_its_finding_and_is_fixed_by_one_click(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/gallery")
    page.locator(".st-key-open-P2-Ones-as-floats button").click()
    expect(page.get_by_text("additive-ones")).to_be_visible()
    page.wait_for_url(re.compile("masks.*mistake=float-ones"))
    page.get_by_role("button", name="Fix it").click()
    expect(page.get_by_text("additive-ones")).not_to_be_visible()
    expect(verdict(page)).to_contain_text("does what was intended")


def test_hover_tells_the_leaked_weight(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.mouse.move(*at(page, 2, 3, 8))
    expect(page.locator(".st-key-masks .mha-tip")).to_contain_text("violation")


def test_an_uploaded_mask_is_checked(page: Page, app_url: str, tmp_path: Path) -> None:
    np.save(tmp_path / "mine.npy", np.tril(np.ones((6, 6), dtype=bool)))
    opened(page, app_url, "mistake=none")
    page.get_by_text("Bring a mask of your own").click()
    page.get_by_role("region", name="mask file").locator("input[type=file]").set_input_files(tmp_path / "mine.npy")
    expect(verdict(page)).to_contain_text("The mask is inverted")
    expect(page.get_by_text("weights [1, 4, 6, 6]")).to_be_visible()


@pytest.mark.parametrize("options", [PHONE, {"color_scheme": "dark"}], ids=["phone", "dark"])
def test_phone_and_dark_theme_show_the_same_and_fit(
    new_page: Callable[..., Page], app_url: str, options: dict[str, object]
) -> None:
    page = opened(new_page(**options), app_url)
    expect(verdict(page)).to_contain_text("The mask is inverted")
    assert titles(page, "given")[:4] == ["head 0", "head 1", "head 2", "head 3"]
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Fix it").click()
    expect(verdict(page)).to_contain_text("does what was intended")


@pytest.mark.parametrize(
    "box", ["Reach", "Execution paths", "What is this mask", "in every convention", "Copy as pytest"]
)
def test_every_box_opens(page: Page, app_url: str, box: str) -> None:
    opened(page, app_url)
    page.get_by_text(re.compile(box)).click()
    said = {
        "Reach": "55 pairs leak",
        "Execution paths": "nn.TransformerEncoderLayer takes",
        "What is this mask": "scaled_dot_product_attention, where True means attend",
        "in every convention": "True = may attend",
        "Copy as pytest": "A test that fails on this mask",
    }[box]
    expect(page.get_by_text(said).first).to_be_visible(timeout=40_000)
