"""The README's pictures, taken from the real app. `make docs` keeps them; a test run only takes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

FOLDER = os.environ.get("MHA_VIZ_SCREENSHOTS")
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "explore-light": ("", {"viewport": {"width": 1280, "height": 820}}),
    "cell-dark": (
        "?head=2&query=8&key=3&num_heads=8&mask=causal+%26+window(6)",
        {"viewport": {"width": 1280, "height": 1180}, "color_scheme": "dark"},
    ),
    "masks-light": ("masks", {"viewport": {"width": 1280, "height": 900}}),
    "phone": ("", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_for_the_readme(new_page: Callable[..., Page], app_url: str, tmp_path: Path, name: str) -> None:
    link, options = PICTURES[name]
    page = new_page(**options)
    page.goto(f"{app_url}/{link}")
    expect(page.locator("[data-painted]")).to_have_count(3 if "query" in link else 2, timeout=20_000)
    page.wait_for_timeout(1_000)
    page.mouse.move(640, 5)
    file = (Path(FOLDER) if FOLDER else tmp_path) / f"{name}.png"
    page.screenshot(path=file)
    assert file.stat().st_size > 20_000
