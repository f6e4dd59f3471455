"""Zooming into pooled figures in a real browser: finer cells, the map, and cells that are gone to."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest

from tests.browser import plot_demo
from tests.browser.driving import canvas_pixels, centre, demo, open_demo, panel_box, step, tip, until, zoom_into

LONG, BLOCK = plot_demo.LONG, plot_demo.BLOCK
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def app_server(tmp_path_factory):
    """The demo instead of the app: `new_page` opens pages of it."""
    with demo(tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture
def show(new_page, app_server):
    """Open the demo of 4,096 tokens with further query parameters and wait until it is painted."""

    def opened(query="", **options):
        return open_demo(new_page, app_server.url, f"kind=finer&{query}", **options)

    return opened


def note(page):
    return page.locator(".mha-note").inner_text()


def view(page):
    """Return the first panel's left, top, right and bottom, in cells."""
    return page.evaluate(
        """() => { const { xaxis, yaxis } = document.querySelector(".mha-axes")._fullLayout;
            return [xaxis.range[0], yaxis.range[1], xaxis.range[1], yaxis.range[0]]; }"""
    )


def screen(page, query, key, number=0):
    """Return where the middle of a cell is on the page."""
    (left, top, right, bottom), box = view(page), panel_box(page, number)
    across = (key - left) / (right - left) * box["width"]
    return box["x"] + across, box["y"] + (query - top) / (bottom - top) * box["height"]


def cell_under(page, pointer, number=0):
    """Return which query and key are at a place of the page, in fractions of cells."""
    (left, top, right, bottom), box = view(page), panel_box(page, number)
    across, down = (pointer[0] - box["x"]) / box["width"], (pointer[1] - box["y"]) / box["height"]
    return top + down * (bottom - top), left + across * (right - left)


def colour_of(page, query, key, number=0):
    return canvas_pixels(page, *screen(page, query, key, number), 1, 1)[0, 0, :3].astype(int)


def expected_colour(value):
    places = [place for place, _ in plot_demo.SCALE]
    channels = zip(*(map(int, re.findall(r"\d+", colour)) for _, colour in plot_demo.SCALE), strict=True)
    return np.array([np.interp(value, places, channel) for channel in channels])


def wheel(page, query, key, times, delta=-100, number=0):
    """Turn the wheel over a cell with Control held."""
    page.mouse.move(*screen(page, query, key, number))
    turn(page, times, delta)


def turn(page, times, delta=-100):
    page.keyboard.down("Control")
    for _ in range(times):
        before = view(page)
        page.mouse.wheel(0, delta)
        until(lambda before=before: view(page) != before)
    page.keyboard.up("Control")


def settled(page, words):
    return until(lambda: note(page).startswith(words) and note(page))


def map_visible(page):
    return page.locator(".mha-map").is_visible()


def test_the_whole_says_what_a_block_is_and_hover_says_the_largest_of_it(show):
    page = show("panels=1")
    settled(page, "Each cell shows the largest of 8 × 8 weights")
    assert not map_visible(page)
    page.mouse.move(*screen(page, 1003.5, 499.5))
    block = plot_demo.long_weights(0)[0][1000:1008, 496:504]
    lines = ["head 0", "query 1000 … 1007", "key 496 … 503", f"largest weight {block.max():.6g}"]
    until(lambda: tip(page).splitlines() == lines)
    page.mouse.move(*screen(page, 1011.5, 1020.5))
    until(lambda: tip(page).splitlines()[-1] == "holds a violation")


def test_a_box_zoom_brings_smaller_blocks_and_further_ones_exact_weights(show):
    page = show("panels=2")
    zoom_into(page)
    side = until(lambda: 1 < side_shown(page) < BLOCK and side_shown(page))
    query, key = (at - at % side for at in (3001, 1301))
    block = plot_demo.long_weights(0)[0][query : query + side, key : key + side]
    page.mouse.move(*screen(page, query + side / 2 - 0.5, key + side / 2 - 0.5, 1))
    lines = ["head 1", f"query {query} … {query + side - 1}", f"key {key} … {key + side - 1}"]
    until(lambda: tip(page).splitlines() == [*lines, f"largest weight {block.max() / 2:.6g}"])
    for _ in range(3):
        before = view(page)
        zoom_into(page)
        until(lambda before=before: view(page) != before)
    settled(page, "Exact weights")


def side_shown(page):
    """Return how many cells a block has, as the line under the picture says; 0 where it says something else."""
    found = re.match(r"Each cell shows the largest of (\d+) × \1 weights", note(page))
    return int(found[1]) if found else 0


def test_exact_cells_have_the_colours_and_values_of_the_array(show):
    page = show("panels=2&goto=1000-500")
    settled(page, "Exact weights.")
    weights, _ = plot_demo.long_weights(0)
    for query, key in [(1000, 500), (1000, 501), (975, 480), (1024, 523)]:
        for number, share in enumerate((1, 0.5)):
            found = colour_of(page, query, key, number)
            assert np.abs(found - expected_colour(weights[query, key] * share)).max() <= 3
    page.mouse.move(*screen(page, 1000, 500))
    until(lambda: tip(page).splitlines() == ["head 0", "query 1000", "key 500", "weight 0.987654"])


def test_states_are_painted_in_finer_cells_as_in_any(show):
    page = show("panels=1&goto=1010-1018")
    settled(page, "Exact weights.")
    x, y = screen(page, 1010, 1020)
    shown = canvas_pixels(page, x - 6, y - 6, 12, 12)[..., :3].reshape(-1, 3)
    assert (shown == (255, 74, 28)).all(axis=1).any(), "the outline of a violation"
    x, y = screen(page, 990, 1025)
    assert len(np.unique(canvas_pixels(page, x, y, 30, 30)[..., :3].reshape(-1, 3), axis=0)) > 1, "the hatch of a mask"
    page.mouse.move(*screen(page, 1010, 1020))
    until(lambda: tip(page).splitlines()[-1] == "masked, yet weight 0.5: a violation")
    page.goto(page.url.replace("1010-1018", "2001-900"))
    settled(page, "Exact weights.")
    x, y = screen(page, 2001, 900)
    shown = canvas_pixels(page, x - 4, y - 4, 8, 8)[..., :3].reshape(-1, 3)
    assert {(255, 79, 163), (0, 0, 0)} <= {tuple(colour) for colour in shown.tolist()}, "a NaN and its X"
    assert np.abs(colour_of(page, 2003, 900) - expected_colour(plot_demo.long_weights(0)[0][2003, 900])).max() <= 3


def test_control_and_the_wheel_zoom_around_the_pointer_and_back(show):
    page = show("panels=2")
    pointer = [round(at) for at in screen(page, 3000, 1000, 1)]
    under = cell_under(page, pointer, 1)
    page.mouse.move(*pointer)
    turn(page, 12)
    settled(page, "Exact weights.")
    assert cell_under(page, pointer, 1) == pytest.approx(under, abs=0.5), "what is under the pointer stays there"
    page.mouse.move(*screen(page, 3000, 1000))
    weight = plot_demo.long_weights(0)[0][3000, 1000]
    until(lambda: tip(page).splitlines()[1:] == ["query 3000", "key 1000", f"weight {weight:.6g}"])
    wheel(page, 3000, 1000, 12, delta=100)
    until(lambda: view(page) == [-0.5, -0.5, LONG - 0.5, LONG - 0.5])
    settled(page, "Each cell shows the largest of 8 × 8 weights")


def test_the_wheel_zooms_figures_that_are_not_pooled_too(new_page, app_server):
    page = open_demo(new_page, app_server.url, "panels=4&size=12")
    before = view(page)
    page.mouse.move(*centre(page, 6, 6, 1))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    until(lambda: view(page)[2] - view(page)[0] < before[2] - before[0])
    page.keyboard.up("Control")
    assert not map_visible(page), "12 rows need no map"


def test_the_keyboard_zooms_around_the_cursor_and_moves_by_what_a_cell_shows(show):
    page = show("panels=1")
    status = page.locator(".mha-status")
    page.locator(".mha-plot").focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    until(lambda: "query 16 … 23, key 8 … 15, largest weight" in status.text_content())
    for _ in range(5):
        before = view(page)
        page.keyboard.press("+")
        until(lambda before=before: view(page) != before)
    settled(page, "Exact weights.")
    page.keyboard.press("ArrowRight")
    weight = plot_demo.long_weights(0)[0][16, 9]
    until(lambda: f"query 16, key 9, weight {weight:.6g}" in status.text_content())
    page.keyboard.press("0")
    until(lambda: view(page) == [-0.5, -0.5, LONG - 0.5, LONG - 0.5])


def test_panning_inside_what_was_fetched_asks_for_nothing(show):
    page = show("panels=1&goto=1000-500")
    settled(page, "Exact weights.")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/finer/" in request.url else None)
    page.locator(".mha-plot").focus()
    page.keyboard.press("ArrowRight")
    for _ in range(4):
        page.keyboard.press("Shift+ArrowRight")
    until(lambda: view(page)[0] > 470)
    assert note(page) == "Exact weights."
    assert asked == []
    for _ in range(8):
        page.keyboard.press("Shift+ArrowRight")
    until(lambda: note(page) and asked)  # asking the page is what lets Playwright see the request
    settled(page, "Exact weights.")


def test_chosen_cells_are_counted_in_cells_of_the_whole(show):
    page = show("panels=2&goto=1000-500")
    settled(page, "Exact weights.")
    page.mouse.click(*screen(page, 990, 510, 1))
    page.get_by_text("chosen [1, 990, 510]").wait_for()
    page.get_by_label("Reset the zoom").click()
    settled(page, "Each cell shows the largest of 8 × 8 weights")
    page.mouse.click(*screen(page, 2050, 1030))
    page.get_by_text("chosen [0, 2048, 1024]").wait_for()


def test_new_data_keeps_the_zoom_and_brings_its_own_cells(show):
    page = show("panels=1&goto=1000-500")
    settled(page, "Exact weights.")
    before = view(page)
    wheel(page, 1000, 500, 1)
    zoomed = view(page)
    assert zoomed != before
    step(page)
    weights = plot_demo.long_weights(1)[0]
    until(lambda: np.abs(colour_of(page, 995, 505) - expected_colour(weights[995, 505])).max() <= 3)
    settled(page, "Exact weights.")
    assert view(page) == zoomed, "the same cell to go to does not move the view again"


def test_a_cell_that_is_gone_to_is_outlined_with_64_cells_around_it(show):
    page = show("panels=2&goto=4090-3")
    settled(page, "Exact weights.")
    left, top, right, bottom = view(page)
    assert (left, bottom) == (-0.5, LONG - 0.5)
    assert (right - left, bottom - top) == (64, 64)
    x, y = screen(page, 4090, 3, 1)
    marks = canvas_pixels(page, x - 12, y - 12, 24, 24, "marks")
    assert marks[..., 3].any()
    x, y = screen(page, 4060, 40, 1)
    assert not canvas_pixels(page, x - 12, y - 12, 24, 24, "marks")[..., 3].any()


def test_labels_are_numbers_of_the_whole_and_names_where_they_are_known(show):
    page = show("panels=1&goto=1000-500&names=1")
    labels = page.locator(".mha-axes .ytick text")
    until(lambda: "w1000" in labels.all_text_contents())
    settled(page, "Exact weights.")
    page.mouse.move(*screen(page, 1000, 500))
    until(lambda: tip(page).splitlines()[1:3] == ["query 1000 “w1000”", "key 500 “w500”"])
    page.get_by_label("Reset the zoom").click()
    until(lambda: "4000" in labels.all_text_contents())


def test_the_map_shows_where_the_view_is_and_moves_it(show):
    page = show("panels=8")
    wheel(page, 2000, 1000, 4)
    until(lambda: map_visible(page))
    box = page.locator(".mha-map").bounding_box()
    boxes = [panel_box(page, number) for number in range(8)]
    assert all(not overlap(box, other) for other in boxes)
    at = partial(place_on_map, box)
    page.mouse.move(*at(3000, 2500))
    page.mouse.down()
    until(lambda: abs(middle(view(page))[0] - 2500) < 90 and abs(middle(view(page))[1] - 3000) < 90)
    page.mouse.move(*at(1500, 700), steps=4)
    until(lambda: abs(middle(view(page))[0] - 700) < 90 and abs(middle(view(page))[1] - 1500) < 90)
    page.mouse.up()
    assert page.locator("[data-testid=stCode]").inner_text() == "chosen None"
    page.get_by_label("Reset the zoom").click()
    until(lambda: not map_visible(page))


def place_on_map(box, query, key):
    return box["x"] + (key + 0.5) / LONG * box["width"], box["y"] + (query + 0.5) / LONG * box["height"]


def middle(found):
    return (found[0] + found[2]) / 2, (found[1] + found[3]) / 2


def overlap(one, other):
    return (
        one["x"] < other["x"] + other["width"]
        and other["x"] < one["x"] + one["width"]
        and one["y"] < other["y"] + other["height"]
        and other["y"] < one["y"] + one["height"]
    )


def test_on_a_phone_the_map_covers_no_label_and_a_finger_moves_it(show):
    page = show("panels=4&goto=1000-500", **PHONE)
    settled(page, "Exact weights.")
    until(lambda: map_visible(page))
    box = page.locator(".mha-map").bounding_box()
    assert box["x"] + box["width"] <= 390
    others = [text.bounding_box() for text in page.locator(".mha-axes text").all()]
    others += [panel_box(page, number) for number in range(4)]
    assert len(others) > 20
    assert not [other for other in others if other and overlap(box, other)]
    page.touchscreen.tap(*place_on_map(box, 3000, 2500))
    until(lambda: abs(middle(view(page))[0] - 2500) < 60 and abs(middle(view(page))[1] - 3000) < 60)
    settled(page, "Exact weights.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_panel_that_is_not_computed_yet_is_empty_and_says_so(show):
    page = show("panels=2&pending=1")
    box = panel_box(page, 1)
    assert not canvas_pixels(page, box["x"] + 2, box["y"] + 2, box["width"] - 4, box["height"] - 4)[..., 3].any()
    page.mouse.move(*screen(page, 1000, 500, 1))
    until(lambda: tip(page).splitlines()[-1] == "not computed yet")
    wheel(page, 1000, 500, 12, number=1)
    settled(page, "Exact weights.")
    assert not canvas_pixels(page, box["x"] + 2, box["y"] + 2, box["width"] - 4, box["height"] - 4)[..., 3].any()


def test_a_failure_is_one_sentence_and_the_coarse_picture_stays(show, problems):
    page = show("panels=1&fail=1")
    before = colour_of(page, 3000, 1300)
    zoom_into(page)
    settled(page, "There is no memory left for finer cells.")
    assert before.any()
    assert np.abs(colour_of(page, 3000, 1300) - before).max() <= 3
    page.get_by_label("Reset the zoom").click()
    settled(page, "Each cell shows the largest of 8 × 8 weights")
    problems[:] = [problem for problem in problems if "503" not in problem]  # the browser reports the answer


def test_cells_that_the_server_dropped_are_there_again_after_a_rerun(show, problems):
    page = show("panels=1&forget=1")
    zoom_into(page)
    until(lambda: 1 < side_shown(page) < BLOCK)
    problems[:] = [problem for problem in problems if "404" not in problem]  # the browser reports the answer
