"""Painting on a heatmap in a real browser: by mouse, finger and keyboard, one message for each stroke.

The demo's `kind=paint` is a causal mask of 12 x 12 cells: a cell is allowed where its key is not after its query.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.browser.driving import SIZE, canvas_pixels, centre, demo, open_demo, panel_box, ranges, until, zoom_into

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TOOLS = ["Look", "Brush", "Rectangle", "Row", "Column"]


@pytest.fixture(scope="module")
def app_server(tmp_path_factory):
    """The demo instead of the app: `new_page` opens pages of it."""
    with demo(tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture
def show(new_page, app_server):
    """Open the mask to paint on, all of it in sight."""
    tall = {"viewport": {"width": 1000, "height": 1100}}
    return lambda query="", **options: open_demo(
        new_page, app_server.url, f"kind=paint&panels=1&{query}", **{**tall, **options}
    )


def log(page):
    """Return what the server was told so far."""
    text = page.get_by_text("log [").inner_text()
    return json.loads(text.removeprefix("log "))


def logged(page, *expected):
    until(lambda: log(page) == list(expected))


def pick(page, tool):
    page.get_by_role("button", name=tool, exact=True).click()


def tap(page, tool):
    """Pick a tool with a finger, anew where the browser was too busy to make a click of the touch."""

    def picked():
        if not pressed(page, tool):
            page.get_by_role("button", name=tool, exact=True).tap()
        return pressed(page, tool)

    until(picked)


def drag(page, *cells, release=True):
    """Press on the first (query, key), move over the others, and let go."""
    page.mouse.move(*centre(page, *cells[0]))
    page.mouse.down()
    for cell in cells[1:]:
        page.mouse.move(*centre(page, *cell), steps=4)
    if release:
        page.mouse.up()


def touch(page, *cells):
    """Do as drag() does with one finger."""
    session = page.context.new_cdp_session(page)
    for number, cell in enumerate(cells):
        x, y = centre(page, *cell)
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        page.wait_for_timeout(20)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def preview(page, query, key):
    """Return the colours, with alpha, that lie over a cell's inside."""
    x, y = centre(page, query, key)
    half = panel_box(page)["width"] / SIZE / 2 - 4
    return canvas_pixels(page, x - half, y - half, 2 * half, 2 * half, "marks").reshape(-1, 4)


def covered(page, query, key):
    """Tell whether a stroke is drawn over a whole cell."""
    return bool((preview(page, query, key)[:, 3] == 255).all())


def is_masked(page, query, key):
    """Tell whether a cell itself is drawn in the masked grey."""
    x, y = centre(page, query, key)
    return bool((np.ptp(canvas_pixels(page, x - 5, y - 5, 10, 10)[..., :3].astype(int), axis=-1) < 20).all())


def test_a_click_masks_an_allowed_cell_and_allows_a_masked_one(show):
    page = show()
    pick(page, "Brush")
    page.mouse.click(*centre(page, 5, 2))
    logged(page, [0, [[5, 2, 2]], False])
    until(lambda: is_masked(page, 5, 2))
    page.mouse.click(*centre(page, 5, 2))
    logged(page, [0, [[5, 2, 2]], False], [0, [[5, 2, 2]], True])
    until(lambda: not is_masked(page, 5, 2))


def test_a_drag_paints_one_value_over_all_cells_on_its_way_in_one_message(show):
    page = show()
    pick(page, "Brush")
    drag(page, (6, 4), (6, 9), (8, 9))  # from allowed cells over the diagonal to masked ones and back
    logged(page, [0, [[6, 4, 9], [7, 9, 9], [8, 9, 9]], False])
    # a fast drag, in one step, leaves no gaps
    page.mouse.move(*centre(page, 11, 0))
    page.mouse.down()
    page.mouse.move(*centre(page, 5, 6))
    page.mouse.up()
    until(lambda: len(log(page)) == 2)
    assert log(page)[1] == [0, [[11 - i, i, i] for i in range(6, -1, -1)], False]


def test_rectangles_rows_and_columns(show):
    page = show()
    expected = []
    for tool, way, runs, value in [
        ("Rectangle", [(8, 5), (6, 2)], [[6, 2, 5], [7, 2, 5], [8, 2, 5]], False),
        ("Rectangle", [(10, 9), (14, -2)], [[10, 0, 9], [11, 0, 9]], False),  # it ends at the panel's edge
        ("Row", [(3, 11)], [[3, 0, 11]], True),
        ("Row", [(3, 0), (4, 7)], [[3, 0, 11], [4, 0, 11]], False),
        ("Column", [(9, 1)], [[q, 1, 1] for q in range(SIZE)], False),
        ("Column", [(0, 5), (2, 6)], [[q, 5, 6] for q in range(SIZE)], True),
    ]:
        if not pressed(page, tool):
            pick(page, tool)
        drag(page, *way)
        expected.append([0, runs, value])
        logged(page, *expected)


def test_a_stroke_is_seen_before_the_server_hears_of_it_and_until_it_has_answered(show):
    page = show("slow=1000")
    pick(page, "Rectangle")
    drag(page, (9, 2), (8, 4), release=False)
    until(lambda: covered(page, 9, 3))
    grey = preview(page, 9, 3)[:, :3].astype(int)
    assert (np.ptp(grey, axis=-1) < 20).all(), "grey"
    assert grey.std() > 5, "hatched: it looks like a masked cell"
    assert not covered(page, 9, 5)
    assert log(page) == []
    page.mouse.up()
    page.mouse.move(5, 5)
    assert covered(page, 9, 3)
    assert log(page) == [], "the server is still busy"
    logged(page, [0, [[8, 2, 4], [9, 2, 4]], False])
    until(lambda: is_masked(page, 9, 3) and not covered(page, 9, 3))


def test_cells_about_to_be_allowed_are_blank(show):
    for scheme, blank in [("light", 250), ("dark", 30)]:
        page = show("slow=1000", color_scheme=scheme)
        pick(page, "Rectangle")
        drag(page, (2, 6), (0, 9), release=False)
        until(lambda page=page: covered(page, 1, 7))
        cell = preview(page, 1, 7)[:, :3]
        assert (cell == cell[0]).all(), "flat"
        assert (cell.mean() > blank) == (scheme == "light")


def test_strokes_that_follow_each_other_faster_than_the_server_are_all_heard_in_order(show):
    page = show("slow=700")
    pick(page, "Brush")
    for query in (5, 7, 9):
        page.mouse.click(*centre(page, query, 1))
    page.mouse.click(*centre(page, 5, 1))  # masked by the first stroke, though nobody has answered yet
    page.keyboard.press("Control+z")
    assert len(log(page)) < 4
    strokes = [[0, [[query, 1, 1]], False] for query in (5, 7, 9)]
    logged(page, *strokes, [0, [[5, 1, 1]], True], "undo")


def test_escape_cancels_a_stroke(show):
    page = show()
    pick(page, "Rectangle")
    drag(page, (8, 5), (6, 2), release=False)
    until(lambda: covered(page, 7, 3))
    page.keyboard.press("Escape")
    until(lambda: not covered(page, 7, 3))
    page.mouse.up()
    page.mouse.click(*centre(page, 1, 0))
    logged(page, [0, [[1, 0, 0]], False])


def test_without_a_tool_a_drag_zooms_and_a_click_chooses_and_nothing_is_painted(show):
    page = show()
    names = page.get_by_role("group", name="Painting tools").get_by_role("button").all_text_contents()
    assert names == TOOLS
    pick(page, "Brush")
    assert [pressed(page, name) for name in TOOLS] == [False, True, False, False, False]
    pick(page, "Brush")
    assert [pressed(page, name) for name in TOOLS] == [True, False, False, False, False]
    zoom_into(page)
    until(lambda: ranges_of_first(page)[0] > 0)
    zoomed = ranges_of_first(page)
    pick(page, "Brush")
    page.mouse.click(*centre(page, 0, 0))
    until(lambda: len(log(page)) == 1)
    cell = round(zoomed[0] + (zoomed[1] - zoomed[0]) / SIZE / 2)
    assert log(page)[0][1][0][1] == cell, "the cell under the pointer, zoomed or not"
    assert ranges_of_first(page) == zoomed, "painting keeps the zoom"
    pick(page, "Look")
    page.mouse.dblclick(*centre(page, 6, 6))
    until(lambda: ranges_of_first(page) == [-0.5, SIZE - 0.5])
    assert len(log(page)) == 1


def pressed(page, name):
    return page.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed") == "true"


def ranges_of_first(page):
    return page.evaluate("() => [...document.querySelector('.mha-axes')._fullLayout.xaxis.range]")


def test_only_the_panels_that_are_meant_to_be_can_be_painted_on(show):
    page = show("panels=2")
    pick(page, "Brush")
    for number in (1, 0):
        page.mouse.click(*centre(page, 4, 1, number))
    logged(page, [0, [[4, 1, 1]], False])
    assert ranges(page)[0] == [-0.5, SIZE - 0.5]


def test_a_finger_paints_with_a_tool_and_scrolls_without_one(show):
    page = show(**PHONE)
    tap(page, "Brush")
    touch(page, (7, 1), (7, 3), (7, 5))
    logged(page, [0, [[7, 1, 5]], False])
    page.touchscreen.tap(*centre(page, 7, 3))
    until(lambda: len(log(page)) == 2)
    assert log(page)[1] == [0, [[7, 3, 3]], True]
    tap(page, "Column")
    touch(page, (0, 0), (5, 1))
    until(lambda: len(log(page)) == 3)
    assert log(page)[2] == [0, [[q, 0, 1] for q in range(SIZE)], False]
    assert scrolled(page) == 0
    assert ranges_of_first(page) == [-0.5, SIZE - 0.5]
    tap(page, "Look")
    page.set_viewport_size({"width": 390, "height": 400})

    def swiped():  # anew while the browser is still busy with its new size, which ends a gesture
        touch(page, (4, 5), (3, 5), (1, 5), (0, 5), (-2, 5))
        return scrolled(page) > 0

    until(swiped)
    assert len(log(page)) == 3


def scrolled(page):
    return page.evaluate("Math.max(...[...document.querySelectorAll('*')].map((n) => n.scrollTop))")


def test_the_keyboard_paints_cells_rectangles_rows_and_columns(show):
    page = show()
    page.locator(".mha-plot").focus()
    assert "Space paints" in page.locator(".mha-plot").get_attribute("aria-description")

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight", "Space")  # the first arrow only shows the cursor
    expected = [[0, [[2, 1, 1]], False]]
    logged(page, *expected)
    until(lambda: "masked by attn_mask" in page.locator(".mha-status").text_content())
    press("Shift+ArrowDown", "Shift+ArrowRight", "Shift+ArrowRight", "Space")
    expected.append([0, [[2, 1, 3], [3, 1, 3]], True])  # the first cell is masked
    logged(page, *expected)
    press("r")
    expected.append([0, [[3, 0, 11]], False])
    logged(page, *expected)
    press("Shift+ArrowLeft", "c")
    expected.append([0, [[q, 2, 3] for q in range(SIZE)], True])
    logged(page, *expected)
    press("Shift+ArrowUp", "Escape", "Space")
    expected.append([0, [[2, 2, 2]], False])
    logged(page, *expected)
    for keys, command in [("Control+z", "undo"), ("Control+Shift+z", "redo"), ("Control+y", "redo")]:
        press(keys)
        expected.append(command)
        logged(page, *expected)
    assert not page.evaluate("document.querySelector('.mha-tip').hidden")


def test_the_tools_are_reached_and_worked_by_keyboard(show):
    page = show()
    page.get_by_role("button", name="Look", exact=True).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert pressed(page, "Brush")
    page.keyboard.press("Control+z")
    logged(page, "undo")


def test_a_figure_that_is_not_to_be_painted_has_no_tools(new_page, app_server):
    page = open_demo(new_page, app_server.url, "panels=1")
    assert page.locator(".mha-tools").is_hidden()
