"""A picture must not lie: every kind of cell looks like no other, in both themes and to colour-blind eyes, by pixels.

The app's own colours are drawn by the demo's `kind=grammar`: column k of each 7 x 7 block is GRAMMAR[k], row 5 is NaN.
"""

from __future__ import annotations

import io
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from tests.browser.driving import centre, demo, open_demo, panel_box
from tests.browser.plot_demo import GRAMMAR

EYES = ("none", "protanopia", "deuteranopia", "tritanopia", "achromatopsia")
SIZES = (7, 42)  # cells a side: 90 and 15 pixels each

DISTINCT = 8.0
"""Least distance of two looks in units of CIELAB, where 2.3 is a just noticeable difference between flat colours."""

VISIBLE = 4.0
"""Least standard deviation of lightness inside a cell (0 black, 100 white) at which lines count as a texture."""

MIDDLE = 3
"""Row of a block that is looked at: there the weights are half of the largest."""


@pytest.fixture(scope="module")
def app_server(tmp_path_factory):
    """The demo instead of the app: `new_page` opens pages of it."""
    with demo(tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture
def show(new_page, app_server):
    """Open the demo with query parameters and wait until it is painted."""
    return partial(open_demo, new_page, app_server.url)


@pytest.fixture(scope="module")
def album():
    """Pictures that were taken already, by theme and size."""
    return {}


@pytest.fixture
def pictures(show, album):
    """Return for each kind of eye a function of (row, column): the cell's pixels as they see them, [H, W, 3] CIELAB."""

    def taken(scheme, size):
        if (scheme, size) in album:
            return album[scheme, size]
        page = show(f"kind=grammar&size={size}", color_scheme=scheme, viewport={"width": 1000, "height": 1100})
        page.mouse.move(2, 2)
        session = page.context.new_cdp_session(page)
        found = {}
        for eyes in EYES:
            session.send("Emulation.setEmulatedVisionDeficiency", {"type": eyes})
            shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
            found[eyes] = partial(cell, lab(np.asarray(shot)), page_places(page, size))
        album[scheme, size] = found
        return found

    return taken


def page_places(page, size):
    """Return how wide and high a cell is, and the centre of the first one."""
    box = panel_box(page)
    return (*centre(page, 0, 0, size=size), box["width"] / size, box["height"] / size)


def cell(shot, places, row, column):
    """Return the inside of a cell of a screenshot, without the pixel where it meets the next one."""
    x, y, width, height = places
    left, top = x + (column - 0.5) * width, y + (row - 0.5) * height
    return shot[round(top) + 1 : round(top + height) - 1, round(left) + 1 : round(left + width) - 1]


def lab(rgb):
    """Return sRGB bytes [..., 3] as CIELAB under D65: lightness 0 to 100, and two axes of colour."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    xyz = linear @ np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
    xyz /= [0.9505, 1.0, 1.089]
    root = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def look(pixels):
    """Return what a cell looks like wherever it lies: how its pixels are spread in each channel, and its lines.

    The spread is 32 quantiles [32, 3]; the lines are the mean direction of lightness' slope, 1 along one diagonal,
    -1 along the other, 0 for both, neither, or lines too faint to see.
    """
    spread = np.quantile(pixels.reshape(-1, 3), (np.arange(32) + 0.5) / 32, axis=0)
    down, across = np.gradient(pixels[..., 0])
    steepness = (down**2 + across**2).mean()
    lines = 2 * (down * across).mean() / steepness if pixels[..., 0].std() >= VISIBLE else 0.0
    return spread, lines


def distance(one, other):
    """Return how far two looks are apart: root mean square in CIELAB over the quantiles; other lines count as 16."""
    colours = np.sqrt(((one[0] - other[0]) ** 2).sum(axis=-1).mean())
    return float(np.hypot(colours, 16 * (one[1] - other[1])))


def nearest(found, looks):
    """Return the kind of cell that a look is most like."""
    return min(looks, key=lambda kind: distance(found, looks[kind]))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_kind_of_cell_looks_like_no_other_to_any_eyes(pictures, scheme, size):
    for eyes, picture in pictures(scheme, size).items():
        looks = {kind: look(picture(MIDDLE, column)) for column, kind in enumerate(GRAMMAR)}
        again = {kind: look(picture(size - 7 + MIDDLE, size - 7 + column)) for column, kind in enumerate(GRAMMAR)}
        for one, other in combinations(GRAMMAR, 2):
            assert distance(looks[one], looks[other]) >= DISTINCT, (eyes, one, other)
        for kind in GRAMMAR:
            assert nearest(again[kind], looks) == kind, (eyes, "a cell elsewhere is known for what it is")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colour_is_never_the_only_cue(pictures, scheme, size):
    for eyes, picture in pictures(scheme, size).items():
        grey = {kind: picture(MIDDLE, column)[..., 0] for column, kind in enumerate(GRAMMAR)}
        for kind in ("positive", "zero"):
            assert grey[kind].std() < 0.5, (eyes, kind, "flat")
        for kind in ("masked", "padded", "both"):
            assert grey[kind].std() >= VISIBLE, (eyes, kind, "hatched")
        assert cross(grey["nan"]) >= 20, (eyes, "the X is darker than its cell")
        for row in (0, 1, 2, 3, 4, 6):
            ringed = picture(row, GRAMMAR.index("violation"))[..., 0]
            assert ring(ringed) >= 20, (eyes, row, "a violation has a ring, whatever its weight")
            assert ring(picture(row, GRAMMAR.index("positive"))[..., 0]) < 0.5, (eyes, row)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_all_nan_row_is_crossed_out_from_end_to_end(pictures, scheme, size):
    for eyes, picture in pictures(scheme, size).items():
        looks = {kind: look(picture(MIDDLE, column)) for column, kind in enumerate(GRAMMAR)}
        for column in range(7):
            assert cross(picture(5, column)[..., 0]) >= 20, (eyes, column)
            assert nearest(look(picture(5, column)), looks) == "nan", (eyes, column)


def cross(lightness):
    """Return how much darker the middle of a cell is, where the strokes of an X meet, than the middles of its edges."""
    height, width = lightness.shape
    middle = lightness[height * 2 // 5 : height * 3 // 5 + 1, width * 2 // 5 : width * 3 // 5 + 1]
    edges = [lightness[0, width // 2], lightness[-1, width // 2], lightness[height // 2, 0], lightness[height // 2, -1]]
    return float(min(edges) - middle.min())


def ring(lightness):
    """Return the largest step of lightness on the way from a cell's edge to its middle, of the least of four ways."""
    height, width = lightness.shape
    row, column = lightness[height // 2], lightness[:, width // 2]
    ways = [row[: width // 2], row[width // 2 :], column[: height // 2], column[height // 2 :]]
    return float(min(np.ptp(way) for way in ways))
