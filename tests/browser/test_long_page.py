"""A long sequence in a browser: its blocks, the way to a token, and the exact weight there."""

from __future__ import annotations

import re

import pytest

from mha_viz.attention.streamed import streamed
from mha_viz.scenario import Scenario
from tests.browser.driving import panel_box, until

SEED = 11
LINK = f"source=normal&query_len=8192&num_heads=2&embed_dim=16&mask=causal&seed={SEED}"


def note(page):
    return page.locator(".mha-note").first.text_content()


def open_long(page, app_url):
    page.goto(f"{app_url}/?{LINK}")
    page.locator(".mha-plot[data-painted]").first.wait_for()
    page.get_by_text("the average over heads").first.wait_for()
    return page


def test_a_token_is_gone_to_and_its_weight_is_exact(page, app_url):
    open_long(page, app_url)
    assert "weights [1, 2, 8192, 8192]" in page.locator(".mha-heading").first.text_content()
    until(lambda: "16 × 16 weights" in note(page))
    page.get_by_label("go to query").fill("6000")
    page.get_by_label("and key").fill("1234")
    page.get_by_role("button", name="Go", exact=True).click()
    weight = float(streamed(Scenario.from_query(LINK)).row(0, 6_000)[1_234])
    page.get_by_text(f"query 6000 attends to key 1234 with {weight:.4g}").wait_for()
    until(lambda: "Exact weights" in note(page))
    box = panel_box(page)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tip = page.locator(".mha-tip").first
    until(lambda: re.search(r"weight\s+[\d.e-]+", tip.text_content()))
    said = tip.text_content()
    query, key = (int(re.search(rf"{name} (\d+)", said)[1]) for name in ("query", "key"))
    expected = float(streamed(Scenario.from_query(LINK)).row(0, query)[key])
    assert abs(query - 6_000) < 40
    assert abs(key - 1_234) < 40
    assert float(re.search(r"weight\s+([\d.e-]+)", said)[1]) == pytest.approx(expected, rel=1e-4)
    page.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(lambda: "16 × 16 weights" in note(page))
    page.get_by_role("button", name="Go", exact=True).click()  # to the same cell once more
    until(lambda: "Exact weights" in note(page))


def test_a_block_that_is_chosen_opens_its_largest_weight(page, app_url):
    open_long(page, app_url)
    box = panel_box(page, 1)
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.75 * box["height"])
    page.get_by_text(re.compile(r"Head 1: query \d+ attends to key \d+ with")).wait_for()
    said = page.get_by_text(re.compile(r"Head 1: query \d+ attends")).first.text_content()
    query, key = (int(re.search(rf"{name} (\d+)", said)[1]) for name in ("query", "key"))
    rows, columns = (slice(16 * (at // 16), 16 * (at // 16) + 16) for at in (query, key))
    block = streamed(Scenario.from_query(LINK)).window(1, rows, columns)
    assert float(block.max()) == float(block[query % 16, key % 16])
    until(lambda: "head=1" in page.url)


def test_it_fits_a_phone(new_page, app_url):
    page = open_long(new_page(viewport={"width": 390, "height": 844}), app_url)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    assert page.get_by_role("button", name="Go", exact=True).is_visible()


def test_a_job_draws_each_head_when_it_is_there_and_ends_by_itself(page, app_url):
    page.goto(f"{app_url}/?source=normal&query_len=65536&num_heads=2&embed_dim=16&seed={SEED + 1}")
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_text(re.compile(r"Computing every weight once: \d of 2 heads done")).wait_for()
    page.get_by_text("the average over heads").first.wait_for(timeout=120_000)
    assert page.get_by_role("button", name="Cancel").count() == 0
    assert "0 of 131,072 rows are NaN" in page.locator(".mha-lines").first.inner_text()


def test_a_cancelled_job_is_taken_up_where_it_was(page, app_url):
    page.goto(f"{app_url}/?source=normal&query_len=65536&num_heads=2&embed_dim=16&seed={SEED}")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text(re.compile(r"Cancelled: [01] of 2 heads are computed\.")).wait_for()
    page.get_by_role("button", name="Compute", exact=True).click()
    page.get_by_text("the average over heads").first.wait_for(timeout=60_000)
