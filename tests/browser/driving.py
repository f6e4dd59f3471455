"""What the tests of the plot component share: the demo in a browser, where its cells are, and what they look like."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from tests.browser import plot_demo
from tests.conftest import serving

SIZE = 12


def demo(folder):
    """Serve plot_demo.py."""
    return serving(Path(plot_demo.__file__), folder / "server.log")


def open_demo(new_page, url, query="", **options):
    """Open the demo with query parameters and wait until it is painted."""
    page = new_page(**options)
    page.goto(f"{url}/?{query}")
    page.locator(".mha-plot[data-painted]").wait_for()
    return page


def until(condition, seconds=15.0):
    """Wait for a condition; the page's policy forbids Playwright's own polling, which evaluates text."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.05)
    return found


def painted(page):
    return page.locator(".mha-plot").get_attribute("data-painted")


def step(page, key="ArrowRight"):
    before = painted(page)
    page.locator("[data-testid=stSlider] input[type=range]").focus()
    page.keyboard.press(key)
    until(lambda: painted(page) != before)


def panel_box(page, number=0):
    return until(lambda: page.locator(".mha-axes .nsewdrag").nth(number).bounding_box())


def centre(page, query, key, number=0, size=SIZE):
    box = panel_box(page, number)
    return box["x"] + (key + 0.5) * box["width"] / size, box["y"] + (query + 0.5) * box["height"] / size


def canvas_pixels(page, x, y, width, height, layer="cells"):
    """Return a part of one of the component's canvases, given in the page's pixels, as [height, width, 4] bytes."""
    numbers = page.evaluate(
        """([x, y, width, height, layer]) => {
            const canvas = document.querySelector(`.mha-${layer}`), frame = canvas.getBoundingClientRect();
            const scale = canvas.width / frame.width;
            const at = [x - frame.left, y - frame.top, width, height].map((v) => Math.floor(v * scale));
            const image = canvas.getContext("2d").getImageData(at[0], at[1], Math.max(1, at[2]), Math.max(1, at[3]));
            return [image.width, image.height, Array.from(image.data)];
        }""",
        [x, y, width, height, layer],
    )
    return np.array(numbers[2], dtype=np.uint8).reshape(numbers[1], numbers[0], 4)


def pixel(page, query, key, number=0, size=SIZE):
    """Return (red, green, blue) at a cell's centre."""
    return tuple(canvas_pixels(page, *centre(page, query, key, number, size), 1, 1)[0, 0, :3].tolist())


def cell_pixels(page, query, key, number=0, size=SIZE):
    """Return what a cell's inside looks like, [height, width, 3]."""
    x, y = centre(page, query, key, number, size)
    box = panel_box(page, number)
    width, height = box["width"] / size - 2, box["height"] / size - 2
    return canvas_pixels(page, x - width / 2, y - height / 2, width, height)[..., :3]


def colours(pixels):
    """Return the set of colours, as (red, green, blue), of pixels [..., 3]."""
    return {tuple(colour) for colour in pixels.reshape(-1, pixels.shape[-1]).tolist()}


def tip(page):
    return page.locator(".mha-tip").inner_text()


def ranges(page):
    return page.evaluate(
        """() => [...document.querySelectorAll(".mha-axes")].flatMap((gd) =>
            ["xaxis", "yaxis", "xaxis2", "yaxis2"].map((name) => [...gd._fullLayout[name].range]))"""
    )


def zoom_into(page, number=0):
    box = panel_box(page, number)
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.25)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.75, steps=5)
    page.mouse.up()
