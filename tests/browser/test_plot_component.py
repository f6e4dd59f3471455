"""The plot component in a real browser, under the app's security headers, on the small app plot_demo.py."""

from __future__ import annotations

import base64
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.browser import plot_demo
from tests.browser.driving import (
    SIZE,
    canvas_pixels,
    cell_pixels,
    centre,
    colours,
    demo,
    open_demo,
    panel_box,
    pixel,
    ranges,
    step,
    tip,
    until,
    zoom_into,
)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
TOUCH_LAPTOP = {"viewport": {"width": 1000, "height": 800}, "has_touch": True}  # it has a mouse, so dragging zooms


@pytest.fixture(scope="module")
def app_server(tmp_path_factory):
    """The demo instead of the app: `new_page` opens pages of it."""
    with demo(tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture
def show(new_page, app_server):
    """Open the demo with query parameters and wait until it is painted."""
    return partial(open_demo, new_page, app_server.url)


def expected_colour(value, top):
    """Plotly's and the canvas' rule for a colour scale: linear between its places, channel by channel."""
    places = [place for place, _ in plot_demo.SCALE]
    channels = zip(*(map(int, re.findall(r"\d+", colour)) for _, colour in plot_demo.SCALE), strict=True)
    return [np.interp(value / top, places, channel) for channel in channels]


@pytest.mark.parametrize("panels", [1, 4, 8])
def test_every_cell_has_the_colour_of_its_weight(show, panels):
    page = show(f"panels={panels}&size={SIZE}")
    figure = plot_demo.spec(panels, SIZE, 0, "")
    for number in {0, panels - 1}:
        trace = figure["data"][number]
        for query, key in [(0, 0), (0, 1), (5, 7), (11, 11)]:
            found = pixel(page, query, key, number)
            assert np.abs(np.subtract(found, expected_colour(trace["z"][query, key], trace["zmax"]))).max() <= 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_states_look_different_from_each_other_and_from_weights(show, scheme):
    page = show(f"panels=1&size={SIZE}&kind=states", color_scheme=scheme)
    cells = {code: cell_pixels(page, code, 0) for code in range(6)}
    assert len(colours(cells[0])) == 1, "a plain cell is one colour"
    for code in (1, 2, 3):
        assert (np.ptp(cells[code].astype(int), axis=-1) < 20).all(), "grey"
        assert len(colours(cells[code])) > 1, "with a hatch"
    assert {(0, 0, 0), (255, 79, 163)} <= colours(cells[4]), "the X of a NaN on its own colour"
    assert {(255, 74, 28), (255, 255, 255)} <= colours(cells[5]), "outline and ring of a violation"


def test_each_mask_has_a_hatch_of_its_own(show):
    page = show(f"panels=1&size={SIZE}&kind=states")
    rises, falls = {}, {}
    for code in (1, 2, 3):
        grey = cell_pixels(page, code, 0).astype(float).sum(axis=-1)
        grey -= grey.mean()
        # along a hatch line the picture repeats itself from pixel to pixel, across it it does not
        rises[code] = float((grey[1:, :-1] * grey[:-1, 1:]).mean() / grey.var())
        falls[code] = float((grey[1:, 1:] * grey[:-1, :-1]).mean() / grey.var())
    assert rises[1] > 0.8 > 0.3 > falls[1]
    assert falls[2] > 0.8 > 0.3 > rises[2]
    assert max(rises[3], falls[3]) < 0.6, "lines both ways"


@pytest.mark.parametrize("size", [250, 410, 512])
def test_a_row_of_violations_among_cells_smaller_than_pixels_is_visible_without_gaps(show, size):
    page = show(f"panels=8&size={size}&kind=states")
    box = panel_box(page)
    pixels = canvas_pixels(page, box["x"] + 1, box["y"] + 1, box["width"] - 2, box["height"] - 2)[..., :3]
    for colour in [(255, 74, 28), (255, 79, 163)]:
        seen = (pixels == colour).all(axis=-1)
        assert seen.any(axis=0).all(), "every second cell is one, and a spot is two pixels wide"
        assert seen.any(axis=1).sum() <= 3, "of one row of cells"


@pytest.mark.parametrize("at", [100, 300], ids=["below zero", "above zero"])
def test_among_cells_smaller_than_pixels_what_is_farthest_from_zero_is_visible(show, at):
    page = show("panels=8&size=512&kind=signed")
    box = panel_box(page)
    middle = (box["x"] + (at + 0.5) * box["width"] / 512, box["y"] + (at + 0.5) * box["height"] / 512)
    found = canvas_pixels(page, middle[0] - 2, middle[1] - 2, 5, 5)[..., :3]
    expected = [0, 0, 100] if at == 100 else [255, 255, 0]
    assert (np.abs(found.astype(int) - expected).max(axis=-1) <= 3).any()


def test_hover_shows_the_exact_weight_tokens_and_state(show):
    page = show(f"panels=4&size={SIZE}&kind=states")
    page.mouse.move(*centre(page, 0, 0, 1))
    until(lambda: "weight" in tip(page))
    assert tip(page).splitlines() == ["head 1", "query 0 “the”", "key 0 “the”", "weight 0.123457"]
    for query, words in [
        (1, "masked by attn_mask"),
        (2, "masked by key_padding_mask"),
        (3, "masked by attn_mask and key_padding_mask"),
        (4, "NaN: not a number"),
    ]:
        page.mouse.move(*centre(page, query, 0))
        until(lambda words=words: tip(page).splitlines()[-1] == words)
    page.mouse.move(*centre(page, 5, 0))
    weight = plot_demo.spec(4, SIZE, 0, "states")["data"][0]["z"][5, 0]
    until(lambda: tip(page).splitlines()[-1] == f"masked, yet weight {weight:.6g}: a violation")
    page.mouse.move(5, 5)
    page.locator(".mha-tip").wait_for(state="hidden")


def test_values_of_large_panels_are_fetched_when_the_pointer_enters(show):
    page = show("panels=2&size=512")
    fetched = []
    page.on("request", lambda request: fetched.append(request.url) if "/values/" in request.url else None)
    page.mouse.move(*centre(page, 100, 200, 1, 512))
    weight = plot_demo.spec(2, 512, 0, "")["data"][1]["z"]
    found = re.search(r"query (\d+)\nkey (\d+)\nweight ([\d.]+)", until(lambda: "0." in tip(page) and tip(page)))
    assert float(found[3]) == pytest.approx(weight[int(found[1]), int(found[2])], rel=1e-5)
    page.mouse.move(*centre(page, 300, 300, 1, 512))
    until(lambda: "query 300" in tip(page))
    assert len(fetched) == 1, "one panel, once"


def test_values_that_the_server_dropped_are_shown_roughly_and_asked_for_again(show, problems):
    page = show("panels=2&size=512&kind=forgetful")
    page.mouse.move(*centre(page, 100, 200, 0, 512))
    rough = until(lambda: re.search(r"weight ≈ ([\d.]+)", tip(page)))
    exact = until(lambda: re.search(r"weight (0\.[\d]+)", tip(page)))  # the pointer need not move
    assert float(rough[1]) == pytest.approx(float(exact[1]), abs=0.5 / 255)
    problems[:] = [problem for problem in problems if "404" not in problem]  # the browser reports the answer


def test_an_element_that_goes_away_gives_its_plot_back(show):
    page = show(f"panels=2&size={SIZE}&kind=vanishing")
    axes = page.evaluate_handle("document.querySelector('.mha-axes')")
    assert axes.evaluate("(gd) => gd._fullLayout !== undefined")
    page.locator("[data-testid=stSlider] input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    until(lambda: axes.evaluate("(gd) => !gd.isConnected && gd._fullLayout === undefined"))
    page.keyboard.press("ArrowLeft")
    page.locator(".mha-plot[data-painted]").wait_for()


def test_click_reaches_python_and_the_chosen_cell_is_outlined(show):
    page = show(f"panels=4&size={SIZE}")
    page.mouse.click(*centre(page, 3, 5, 2))
    page.get_by_text("chosen [2, 3, 5]").wait_for()
    page.mouse.click(*centre(page, 3, 5, 2))  # the same cell again is a click again
    page.mouse.click(*centre(page, 0, 1, 0))
    page.get_by_text("chosen [0, 0, 1]").wait_for()
    page.mouse.move(5, 5)
    page.locator(".mha-tip").wait_for(state="hidden")
    box = panel_box(page)
    marks = canvas_pixels(page, box["x"], box["y"], box["width"], box["height"], "marks")
    rows, columns = np.nonzero(marks[..., 3])
    cell = box["width"] / SIZE
    assert rows.max() < 1.3 * cell
    assert columns.min() > 0.7 * cell
    assert columns.max() < 2.3 * cell


def test_dragging_is_no_click(show):
    page = show(f"panels=2&size={SIZE}")
    zoom_into(page)
    until(lambda: ranges(page)[0][0] > 0)
    assert page.locator("[data-testid=stCode]").inner_text() == "chosen None"


def test_keyboard_moves_a_cursor_that_is_read_out_and_chooses(show):
    page = show(f"panels=4&size={SIZE}&kind=states")
    plot = page.locator(".mha-plot")
    assert plot.get_attribute("role") == "application"
    assert plot.get_attribute("aria-label") == "weights of all heads"
    plot.focus()
    status = page.locator(".mha-status")

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)

    press("ArrowRight")
    until(lambda: status.text_content() == "head 0, query 0 “the”, key 0 “the”, weight 0.123457")
    press("ArrowRight", "ArrowDown", "ArrowRight")
    until(lambda: "query 1 “quick”, key 2 “brown”, weight 0,  masked by attn_mask" in status.text_content())
    press("]", "End")
    until(lambda: "head 1, query 1 “quick”, key 11 “sleeps”" in status.text_content())
    press("Home", "PageDown", "PageDown")
    until(lambda: "query 11 “sleeps”, key 0" in status.text_content())
    press("Enter")
    page.get_by_text("chosen [1, 11, 0]").wait_for()
    press("ArrowUp", " ")
    page.get_by_text("chosen [1, 10, 0]").wait_for()
    press("Escape")
    page.locator(".mha-tip").wait_for(state="hidden")
    press("ArrowRight", "+")
    until(lambda: ranges(page)[0] != [-0.5, SIZE - 0.5])
    press("0")
    until(lambda: ranges(page)[0] == [-0.5, SIZE - 0.5])


def test_tab_leaves_the_plot(show):
    page = show(f"panels=1&size={SIZE}")
    page.locator(".mha-plot").focus()
    for _ in range(8):
        page.keyboard.press("Tab")
        if not page.evaluate("document.querySelector('.mha-plot').contains(document.activeElement)"):
            return
    pytest.fail("the keyboard is trapped in the plot")


def test_zoom_is_shared_by_all_heads_and_stays_while_the_data_changes(show):
    page = show(f"panels=4&size={SIZE}")
    zoom_into(page)
    until(lambda: ranges(page)[0][0] > 0)
    zoomed = ranges(page)
    assert zoomed[0] == zoomed[2]
    assert zoomed[1] == zoomed[3]
    step(page)
    assert ranges(page) == zoomed
    x0, y0 = zoomed[0][0], zoomed[1][1]
    trace = plot_demo.spec(4, SIZE, 1, "")["data"][0]
    across = (zoomed[0][1] - x0) / SIZE  # the panel's width in cells, over the twelve that pixel() takes it for
    query, key = round(y0 + 2 * across + across / 2), round(x0 + 2 * across + across / 2)
    found = pixel(page, 2, 2)
    assert np.abs(np.subtract(found, expected_colour(trace["z"][query, key], trace["zmax"]))).max() <= 3
    page.mouse.dblclick(*centre(page, 6, 6))
    until(lambda: ranges(page)[0] == [-0.5, SIZE - 0.5])


def test_labels_are_thinned_where_there_is_no_room_and_all_there_after_zooming(show):
    page = show("panels=1&size=512")
    labels = page.locator(".mha-axes .yaxislayer-above text, .mha-axes .ytick text")
    few = labels.count()
    assert few < 60
    box = panel_box(page)
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 120, box["y"] + 120, steps=4)
    page.mouse.up()
    until(lambda: ranges_of_first(page)[0] > 0)
    until(lambda: consecutive(labels.all_text_contents()))


def ranges_of_first(page):
    return page.evaluate("() => [...document.querySelector('.mha-axes')._fullLayout.xaxis.range]")


def consecutive(texts):
    numbers = sorted(int(text) for text in texts if text.isdigit())
    return len(numbers) > 5 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_the_colour_bar_follows_the_range_of_the_data(show):
    page = show(f"panels=4&size={SIZE}")
    bar = page.locator(".mha-axes .cbaxis text")
    for number in range(3):
        top = plot_demo.spec(4, SIZE, number, "")["data"][0]["zmax"]
        assert float(bar.all_text_contents()[-1]) == pytest.approx(top, rel=1e-2)
        step(page)
    zoom_into(page)  # Plotly draws the bar again
    until(lambda: ranges(page)[0][0] > 0)
    top = plot_demo.spec(4, SIZE, 3, "")["data"][0]["zmax"]
    assert float(bar.all_text_contents()[-1]) == pytest.approx(top, rel=1e-2)
    with page.expect_download() as download:
        page.get_by_label("Download as SVG").click()
    assert f">{bar.all_text_contents()[-1]}<" in Path(download.value.path()).read_text()


def test_a_phone_shows_two_columns_and_the_page_does_not_scroll_sideways(show):
    page = show(f"panels=8&size={SIZE}&kind=states", **PHONE, device_scale_factor=2)
    boxes = [panel_box(page, number) for number in range(8)]
    assert len({round(box["x"]) for box in boxes}) == 2
    assert all(box["width"] == pytest.approx(box["height"], abs=1.5) for box in boxes)
    assert max(box["x"] + box["width"] for box in boxes) <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (
        page.evaluate("document.querySelector('.mha-cells').width / document.querySelector('.mha-cells').clientWidth")
        == 2
    )


def test_one_panel_on_a_phone_takes_the_width_and_a_tap_chooses(show):
    page = show(f"panels=1&size={SIZE}", **PHONE)
    assert panel_box(page)["width"] > 250
    page.touchscreen.tap(*centre(page, 2, 4))
    page.get_by_text("chosen [0, 2, 4]").wait_for()
    assert "key 4 “jumps”" in tip(page)


def test_a_finger_that_moves_over_the_plot_scrolls_the_page(show):
    page = show(f"panels=8&size={SIZE}", **PHONE)
    x, y = centre(page, 6, 6, 2)
    session = page.context.new_cdp_session(page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for moved in range(10, 300, 15):
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - moved}]})
        page.wait_for_timeout(16)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(lambda: page.evaluate("Math.max(...[...document.querySelectorAll('*')].map((n) => n.scrollTop))") > 100)
    assert ranges(page)[0] == [-0.5, SIZE - 0.5]
    assert page.locator("[data-testid=stCode]").inner_text() == "chosen None"


def fingers(page, *places):
    """Put two fingers on the screen, move them from each of the places, two (x, y), to the next, and lift them."""
    session = page.context.new_cdp_session(page)
    for number, pair in enumerate(places):
        kind = "touchMove" if number else "touchStart"
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(pair)]
        if not number:  # as of a hand, one after the other
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points[:1]})
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(30)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def spread(page, start, end, query=6, key=3, panel=1):
    """Return places of two fingers beside the middle of a cell: from one distance in pixels to another, in steps."""
    x, y = centre(page, query, key, panel)
    return [((x - apart / 2, y), (x + apart / 2, y)) for apart in np.linspace(start, end, 8)]


@pytest.mark.parametrize("options", [PHONE, TOUCH_LAPTOP], ids=["phone", "touch laptop"])
def test_two_fingers_zoom_all_panels_around_the_place_between_them(show, options):
    page = show(f"panels=2&size={SIZE}", **options)
    fingers(page, *spread(page, 30, 60))
    until(lambda: ranges(page)[0] != [-0.5, SIZE - 0.5])
    left, right = ranges(page)[0]
    bottom, top = ranges(page)[1]
    assert (right - left, bottom - top) == pytest.approx((SIZE / 2, SIZE / 2), rel=0.05)
    # The cell between the fingers is where it was: 3.5 of 12 columns from the left, 6.5 of 12 rows from the top.
    assert (3 - left) / (right - left) == pytest.approx(3.5 / SIZE, abs=0.02)
    assert (6 - top) / (bottom - top) == pytest.approx(6.5 / SIZE, abs=0.02)
    assert ranges(page)[2:] == ranges(page)[:2]
    assert page.evaluate("visualViewport.scale") == 1
    assert page.evaluate("Math.max(...[...document.querySelectorAll('*')].map((n) => n.scrollTop))") == 0
    assert page.locator("[data-testid=stCode]").inner_text() == "chosen None"


@pytest.mark.parametrize("options", [PHONE, TOUCH_LAPTOP], ids=["phone", "touch laptop"])
def test_two_fingers_move_what_they_are_on_and_zoom_out_to_the_whole(show, options):
    page = show(f"panels=2&size={SIZE}", **options)
    fingers(page, *spread(page, 30, 60))
    until(lambda: ranges(page)[0] != [-0.5, SIZE - 0.5])
    page.wait_for_timeout(300)
    before = ranges(page)
    cell = panel_box(page, 1)["width"] / (SIZE / 2)
    (a, b), moves = spread(page, 40, 40)[0], [0, 8, 16, 24]
    fingers(page, *([(a[0] - m, a[1]), (b[0] - m, b[1])] for m in moves))
    until(lambda: ranges(page)[0] != before[0])
    assert ranges(page)[0][0] - before[0][0] == pytest.approx(24 / cell, abs=0.1)
    assert ranges(page)[1] == pytest.approx(before[1], abs=0.01)
    fingers(page, *spread(page, 100, 20))
    until(lambda: ranges(page)[0] == [-0.5, SIZE - 0.5] and ranges(page)[1] == [SIZE - 0.5, -0.5])


def test_with_a_tool_chosen_two_fingers_do_not_zoom(show):
    page = show(f"kind=paint&panels=2&size={SIZE}", **PHONE)
    brush = page.get_by_role("button", name="Brush")
    until(lambda: brush.get_attribute("aria-pressed") == "true" or brush.tap())
    fingers(page, *spread(page, 30, 60, panel=0))
    page.wait_for_timeout(300)
    assert ranges(page)[0] == [-0.5, SIZE - 0.5]


def test_the_wheel_scrolls_the_page_and_does_not_zoom(show):
    page = show(f"panels=8&size={SIZE}", viewport={"width": 1000, "height": 400})
    page.mouse.move(*centre(page, 1, 1))
    page.mouse.wheel(0, 200)
    until(lambda: page.evaluate("Math.max(...[...document.querySelectorAll('*')].map((n) => n.scrollTop))") > 100)
    assert ranges(page)[0] == [-0.5, SIZE - 0.5]


def test_a_narrower_window_gets_fewer_columns(show):
    page = show(f"panels=8&size={SIZE}")
    assert len({round(panel_box(page, n)["x"]) for n in range(8)}) == 4
    page.set_viewport_size({"width": 430, "height": 800})
    until(lambda: len({round(panel_box(page, n)["x"]) for n in range(8)}) == 2)
    figure = plot_demo.spec(8, SIZE, 0, "")["data"][7]
    until(
        lambda: np.abs(np.subtract(pixel(page, 5, 7, 7), expected_colour(figure["z"][5, 7], figure["zmax"]))).max() <= 3
    )


def test_text_colours_follow_the_theme(show):
    shades = {}
    for scheme in ("light", "dark"):
        page = show(f"panels=2&size={SIZE}", color_scheme=scheme)
        fill = page.evaluate("getComputedStyle(document.querySelector('.mha-axes .ytick text')).fill")
        shades[scheme] = sum(map(int, re.findall(r"\d+", fill)[:3]))
    assert shades["light"] < 250
    assert shades["dark"] > 500


def test_a_change_of_theme_recolours_the_figure_at_once(show):
    page = show(f"panels=2&size={SIZE}&kind=states", color_scheme="light")
    before = cell_pixels(page, 1, 0).mean()
    page.emulate_media(color_scheme="dark")
    until(lambda: cell_pixels(page, 1, 0).mean() < before - 50)


def test_token_text_never_becomes_an_element(show):
    page = show(f"panels=2&size={SIZE}&kind=hostile")
    page.mouse.move(*centre(page, 0, 1))
    until(lambda: "<img src=x onerror=alert(1)>" in tip(page))
    assert '<a href="https://evil.example">x</a>' in tip(page)
    assert "<img src=y onerror=alert(2)>" in tip(page)
    plot = page.locator(".mha-plot")
    assert plot.locator("img").count() == 0
    assert plot.locator("a[href*=evil], a[*|href*=evil]").count() == 0
    labels = plot.locator(".ytick text").all_text_contents()
    assert "&lt;b&gt;" in labels, "an entity is shown as it was typed"
    assert "$\\frac{1}{2}$" in labels
    assert any(label.startswith("<img") for label in labels)


@pytest.mark.parametrize("kind", ["png", "svg"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_downloads_hold_cells_states_and_axes_on_the_themes_background(show, kind, scheme):
    page = show(f"panels=2&size={SIZE}&kind=states", color_scheme=scheme)
    with page.expect_download() as download:
        page.get_by_label(f"Download as {kind.upper()}").click()
    assert download.value.suggested_filename == f"demo.{kind}"
    data = Path(download.value.path()).read_bytes()
    if kind == "svg":
        assert b"quick</text>" in data.replace(b"</tspan>", b"")
        inner = base64.b64decode(re.search(rb"data:image/png;base64,([A-Za-z0-9+/=]+)", data)[1])
    else:
        inner = data
    assert inner.startswith(PNG_SIGNATURE)
    counts = colours_in(page, inner)
    assert {(255, 79, 163), (255, 74, 28)} <= counts.keys(), "NaN and violations are in the picture"
    if kind == "png":
        most = max(counts, key=counts.get)
        assert (sum(most) > 600) == (scheme == "light"), "the theme's background"


def colours_in(page, png):
    """Return how often each colour is in a PNG, as the browser decodes it."""
    counts = page.evaluate(
        """async (source) => {
            const image = new Image();
            image.src = "data:image/png;base64," + source;
            await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height), context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, image.width, image.height), counts = {};
            for (let i = 0; i < data.length; i += 4) {
                const key = data[i] + "," + data[i + 1] + "," + data[i + 2];
                counts[key] = (counts[key] ?? 0) + 1;
            }
            return counts;
        }""",
        base64.b64encode(png).decode(),
    )
    return {tuple(map(int, key.split(","))): count for key, count in counts.items()}


def test_a_figure_without_heatmaps_is_plotlys_alone(show):
    page = show("kind=bars")
    assert page.locator(".mha-axes .bars .point").count() == 5
    assert page.locator(".mha-plot").get_attribute("role") == "figure"
    step(page)
    page.get_by_text("bars 1").wait_for()


def test_new_data_of_the_same_shape_touches_no_plotly_code(show):
    page = show(f"panels=8&size={SIZE}&kind=states")
    page.evaluate(
        """() => { window.__calls = 0;
        for (const name of ["react", "restyle", "relayout", "newPlot", "update", "redraw"]) {
            const real = Plotly[name];
            Plotly[name] = (...all) => { window.__calls += 1; return real(...all); };
        } }"""
    )
    for _ in range(3):
        step(page)
    assert page.evaluate("window.__calls") == 0
