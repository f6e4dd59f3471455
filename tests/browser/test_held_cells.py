"""Weights that are held and too many to be sent at once: blocks first, exact cells where somebody zooms in."""

from __future__ import annotations

import re

import pytest

import mha_viz as mv
from mha_viz.scenario import Scenario
from tests.browser.driving import panel_box, until, zoom_into

SEED = 23
LINK = f"source=normal&query_len=500&num_heads=8&mask=causal&seed={SEED}"


@pytest.fixture(scope="module")
def weights():
    return mv.run(Scenario.from_query(LINK)).layers[0].weights[0]


def note(page):
    return page.locator(".mha-note").first.text_content()


def opened(page, address):
    page.goto(address)
    page.locator(".mha-plot[data-painted]").first.wait_for()
    until(lambda: "Each cell shows the largest of" in note(page))
    return page


def pointed(page):
    """Return the query, the key and the number under the pointer, once they are there."""
    said = until(lambda: re.search(r"query (\d+).*key (\d+).*?([\d.e-]+)$", tip_of(page), re.S))
    return int(said[1]), int(said[2]), float(said[3])


def tip_of(page):
    return page.locator(".mha-tip").first.inner_text()


def middle(page, number=0, across=0.4, down=0.6):
    box = panel_box(page, number)
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def test_the_whole_is_blocks_and_a_box_of_it_is_exact_weights(page, app_url, weights):
    opened(page, f"{app_url}/?{LINK}")
    assert "2 × 2 weights" in note(page)
    page.mouse.move(*middle(page, 3))
    said = until(lambda: re.search(r"query (\d+) … .*key (\d+) … .*largest weight ([\d.e-]+)$", tip_of(page), re.S))
    query, key = int(said[1]), int(said[2])
    assert float(said[3]) == pytest.approx(float(weights[3, query : query + 2, key : key + 2].max()), rel=1e-4)
    zoom_into(page)
    until(lambda: note(page).startswith("Exact weights"))
    page.mouse.move(*middle(page, 5))
    query, key, weight = pointed(page)
    assert weight == pytest.approx(float(weights[5, query, key]), rel=1e-4)
    page.mouse.move(*middle(page, 5, across=0.9, down=0.1))
    until(lambda: "masked by attn_mask" in tip_of(page))


def test_a_block_that_is_chosen_opens_its_largest_weight(page, app_url, weights):
    opened(page, f"{app_url}/?{LINK}")
    page.mouse.click(*middle(page, 2))
    said = page.get_by_text(re.compile(r"Head 2: how much query \d+ .* attends to key \d+")).first.text_content()
    query, key = (int(re.search(rf"{name} (\d+)", said)[1]) for name in ("query", "key"))
    rows, columns = (slice(2 * (at // 2), 2 * (at // 2) + 2) for at in (query, key))
    assert float(weights[2, query, key]) == float(weights[2, rows, columns].max())


def test_new_settings_keep_the_zoom_and_bring_their_own_exact_weights(page, app_url):
    opened(page, f"{app_url}/?{LINK}")
    zoom_into(page)
    until(lambda: note(page).startswith("Exact weights"))
    page.get_by_label("seed", exact=True).press("ArrowUp")
    other = mv.run(Scenario.from_query(LINK.replace(str(SEED), str(SEED + 1)))).layers[0].weights[0]
    until(lambda: f"seed={SEED + 1}" in page.evaluate("location.search"))

    def exact():
        page.mouse.move(*middle(page, 1))
        page.mouse.move(*middle(page, 1, across=0.41))
        query, key, weight = pointed(page)
        return weight == pytest.approx(float(other[1, query, key]), rel=1e-4)

    until(exact)
    assert note(page).startswith("Exact weights")


def test_both_sides_of_a_comparison_and_their_difference_are_exact_where_one_zooms_in(page, app_url, weights):
    opened(page, f"{app_url}/compare?{LINK}&right=mask%3Dfull")
    assert "4 × 4 weights" in note(page)
    zoom_into(page)
    until(lambda: "2 × 2 weights" not in note(page) and note(page).startswith("Exact weights"))
    full = mv.run(Scenario.from_query(LINK.replace("causal", "full"))).layers[0].weights[0, 0]
    for number, expected in enumerate((weights[0], full, full - weights[0])):
        page.mouse.move(*middle(page, number))
        query, key, found = until(lambda: "…" not in tip_of(page) and pointed(page))
        assert abs(found) == pytest.approx(abs(float(expected[query, key])), rel=1e-3, abs=1e-7)


def test_weights_under_a_mask_that_is_checked_are_exact_where_one_zooms_in(page, app_url, weights):
    page.goto(f"{app_url}/masks?{LINK}&mistake=none")
    figure = page.locator(".mha-plot[aria-label^='Attention weights of 8 heads']")
    figure.locator(".mha-note", has_text="2 × 2 weights").wait_for()
    figure.scroll_into_view_if_needed()
    zoom(page, figure)
    figure.locator(".mha-note", has_text="Exact weights").wait_for()
    box = figure.locator(".nsewdrag").nth(1).bounding_box()
    page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 0.6 * box["height"])
    said = until(
        lambda: re.search(r"query (\d+)\s+key (\d+)\s+weight ([\d.e-]+)$", figure.locator(".mha-tip").inner_text())
    )
    assert float(said[3]) == pytest.approx(float(weights[1, int(said[1]), int(said[2])]), rel=1e-4)


def zoom(page, figure):
    """Drag a box over the middle of the first panel of a figure."""
    box = figure.locator(".nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.75 * box["height"], steps=5)
    page.mouse.up()


def test_names_of_tokens_stand_beside_the_blocks_and_with_each_cell(page, app_url):
    words = "+".join(f"word{i}" for i in range(600))
    opened(page, f"{app_url}/?text={words}&num_heads=8")
    assert "word0" in page.locator(".mha-axes .ytick text").all_text_contents()
    for _ in range(3):
        zoom_into(page)
    until(lambda: note(page).startswith("Exact weights"))
    page.mouse.move(*middle(page))
    until(lambda: re.search(r"query (\d+) “word\1”\s+key (\d+) “word\2”", tip_of(page)))
