"""The real app in a real browser: what a newcomer, a phone, a keyboard and a hostile text meet."""

from __future__ import annotations

import csv
import io
import re
import runpy
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus, urlencode

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page, expect

import mha_viz as mv
from mha_viz.scenario import Scenario
from mha_viz.ui import say
from tests.browser.driving import until
from tests.conftest import serving

expect.set_options(timeout=20_000)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def titled(page: Page, figure: str = "grid") -> Locator:
    return page.locator(f".st-key-{figure} .annotation-text", has_text=re.compile(r"^(head \d|average|mask)"))


def titles(page: Page, figure: str = "grid") -> list[str]:
    return titled(page, figure).all_text_contents()


def wait_for_heads(page: Page, count: int) -> None:
    expected = [f"head {h}" for h in range(count)]
    expect(titled(page)).to_have_text(expected)


def opened(page: Page, url: str, link: str = "", heads: int = 4) -> Page:
    page.goto(f"{url}/?{link}")
    wait_for_heads(page, heads)
    return page


def cell(
    page: Page, panel: int, query: int, key: int, of: tuple[int, int], figure: str = "grid"
) -> tuple[float, float]:
    """Return where a cell of a panel with `of` (L, S) cells is on the screen."""
    box = page.locator(f".st-key-{figure} .nsewdrag").nth(panel).bounding_box()
    assert box is not None
    return box["x"] + (key + 0.5) / of[1] * box["width"], box["y"] + (query + 0.5) / of[0] * box["height"]


def weight(text: str, scenario: Scenario, at: tuple[int, int, int]) -> bool:
    """Say whether a text states the weight that the module gives (head, query, key), to four digits."""
    exact = float(mv.run(scenario).layers[0].weights[0][at])
    numbers = [float(n.replace("−", "-")) for n in re.findall(r"[-−]?\d+(?:\.\d+)?(?:e[-−+]?\d+)?", text)]
    return any(abs(number - exact) <= 1e-3 * max(exact, 1e-6) for number in numbers)


def test_a_newcomer_reaches_the_causal_heatmap_of_a_sentence(page: Page, app_url: str) -> None:
    opened(page, app_url)
    text = page.get_by_label("text", exact=True)
    text.fill("my dog likes long walks")
    text.press("Control+Enter")
    expect(page.get_by_text("weights [1, 4, 5, 5]")).to_be_visible()
    expect(page.get_by_text("40.0% masked")).to_be_visible()
    assert page.locator(".st-key-grid .ytick text").all_text_contents()[:5] == ["my", "dog", "likes", "long", "walks"]
    page.wait_for_url(re.compile("text=my"))


def test_more_heads_are_more_panels(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.get_by_text("More: Layer").click()
    heads = page.get_by_role("spinbutton", name="num_heads")
    heads.fill("8")
    heads.press("Enter")
    wait_for_heads(page, 8)
    page.wait_for_url(re.compile("num_heads=8"))


def test_hover_tells_the_exact_weight(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.mouse.move(*cell(page, 2, 8, 3, (11, 11)))
    tip = page.locator(".st-key-grid .mha-tip")
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("head 2")
    assert weight(tip.inner_text(), Scenario(), (2, 8, 3))
    page.mouse.move(*cell(page, 1, 2, 9, (11, 11)))
    expect(tip).to_contain_text("masked by attn_mask")


def test_a_click_opens_what_the_weight_is_made_of(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.mouse.click(*cell(page, 2, 8, 3, (11, 11)))
    expect(page.get_by_text("Head 2: how much query 8 “cat” attends to key 3 “on”")).to_be_visible()
    assert weight(page.locator(".mha-steps").inner_text(), Scenario(), (2, 8, 3))
    expect(page.locator(".st-key-row .js-plotly-plot .point").first).to_be_attached()
    assert titles(page, "detail")[1] == "head 2"
    page.wait_for_url(re.compile(r"head=2.*query=8.*key=3"))
    page.mouse.click(*cell(page, 0, 10, 1, (11, 11), "detail"))
    expect(page.get_by_text("Head 2: how much query 10 “tired” attends to key 1 “cat”")).to_be_visible()


def test_the_choices_and_open_boxes_follow_the_picture(page: Page, app_url: str) -> None:
    opened(page, app_url, "num_heads=2", heads=2)
    head = page.get_by_role("spinbutton", name="head", exact=True)
    page.mouse.click(*cell(page, 1, 8, 3, (11, 11)))
    expect(head).to_have_value("1")
    page.get_by_text("Download and share").click()
    link = page.get_by_test_id("stCode").first
    expect(link).to_contain_text("head=1&query=8&key=3")
    text = page.get_by_label("text", exact=True)
    text.fill("my dog likes\nlong walks")
    text.press("Control+Enter")
    expect(page.get_by_role("spinbutton", name="batch item")).to_have_value("0")
    expect(link).to_contain_text("text=my+dog")
    expect(page.locator(".st-key-row")).to_have_count(0)  # query 8 is gone
    head.fill("0")
    head.press("Enter")
    expect(link).not_to_contain_text("head=1")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("spinbutton", name="batch item")).to_have_count(0)
    expect(page.locator(".st-key-row")).to_be_visible()


def test_the_choices_come_back_with_the_picture(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/?text=+&num_heads=2")
    expect(page.get_by_role("alert")).to_contain_text("text must hold at least one word")
    expect(page.get_by_role("spinbutton", name="head", exact=True)).to_have_count(0)
    text = page.get_by_label("text", exact=True)
    text.fill("my dog")
    text.press("Control+Enter")
    wait_for_heads(page, 2)
    expect(page.get_by_role("spinbutton", name="head", exact=True)).to_be_visible()
    expect(page.get_by_text("Download and share")).to_be_visible()


def test_the_keyboard_reaches_a_cell(page: Page, app_url: str) -> None:
    opened(page, app_url)
    page.locator(".st-key-grid .mha-plot").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "]", "Enter"):
        page.keyboard.press(key)
    expect(page.get_by_text(re.compile("^Head 1: how much query"))).to_be_visible()
    assert page.locator(".st-key-grid [role=status]").inner_text()


def test_lines_and_tokens_show_the_chosen_query(page: Page, app_url: str) -> None:
    opened(page, app_url, "head=1&query=5&key=1")
    page.get_by_text("lines", exact=True).click()
    expect(page.locator(".st-key-links .js-plotly-plot .scatterlayer path").first).to_be_attached()
    page.get_by_text("tokens", exact=True).click()
    spans = page.locator(".mha-tokens span")
    expect(spans).to_have_text(["the", "cat", "sat", "on", "the", "mat", "because", "the", "cat", "was", "tired"])
    exact = mv.run(Scenario()).layers[0].weights[0, 1, 5].tolist()
    assert spans.nth(5).get_attribute("title") == f"mat: {exact[5]:.4g}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_readable(new_page: Callable[..., Page], app_url: str, scheme: str) -> None:
    page = opened(new_page(color_scheme=scheme), app_url)
    script = "e => getComputedStyle(e).{}"
    background = page.locator(".stApp").evaluate(script.format("backgroundColor"))
    label = page.locator(".st-key-grid .ytick text").first.evaluate(script.format("fill"))
    dark = [sum(int(n) for n in re.findall(r"\d+", colour)[:3]) / 3 for colour in (background, label)]
    assert abs(dark[0] - dark[1]) > 110
    assert (dark[0] < 128) is (scheme == "dark")


def test_a_phone_sees_everything_without_scrolling_sideways(new_page: Callable[..., Page], app_url: str) -> None:
    page = opened(new_page(**PHONE), app_url)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    lefts = {round(box["x"]) for d in page.locator(".st-key-grid .nsewdrag").all() if (box := d.bounding_box())}
    assert len(lefts) == 2
    x, y = cell(page, 0, 8, 3, (11, 11))
    page.touchscreen.tap(x, y)
    expect(page.get_by_text("Head 0: how much query 8 “cat” attends to key 3 “on”")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_hostile_tokens_are_text_everywhere(page: Page, app_url: str) -> None:
    text = "<img src=x onerror=window.hacked=1> <a href='https://evil.example'>x</a> [y](https://evil.example) $x^2$"
    page.goto(f"{app_url}/?text={quote_plus(text)}&query=2&key=1")
    wait_for_heads(page, 4)
    page.mouse.move(*cell(page, 0, 3, 2, (len(mv.run(Scenario(text=text)).query_tokens()),) * 2))
    for view in ("lines", "tokens"):
        page.get_by_text(view, exact=True).click()
        page.wait_for_timeout(700)
        assert page.evaluate("window.hacked") is None
        assert page.locator("a[href*=evil], img[src=x]").count() == 0


def test_a_mistake_is_one_sentence_and_the_rest_stays(page: Page, app_url: str) -> None:
    opened(page, app_url, "num_heads=8", heads=8)
    mask = page.get_by_label("mask", exact=True)
    mask.fill("casual")
    mask.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("did you mean 'causal'?")
    assert len(titles(page)) == 8
    expect(mask).to_have_value("casual")
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(mask).to_have_value("causal")


def test_two_people_have_their_own_settings(new_page: Callable[..., Page], app_url: str) -> None:
    one, two = opened(new_page(), app_url), opened(new_page(), app_url, "num_heads=8", heads=8)
    text = one.get_by_label("text", exact=True)
    text.fill("mine alone")
    text.press("Control+Enter")
    expect(one.get_by_text("weights [1, 4, 2, 2]")).to_be_visible()
    two.reload()
    wait_for_heads(two, 8)
    expect(two.get_by_text("weights [1, 8, 11, 11]")).to_be_visible()


def test_a_link_reopens_exactly_this(new_page: Callable[..., Page], app_url: str) -> None:
    page = opened(new_page(), app_url)
    page.get_by_text("log", exact=True).click()
    page.wait_for_url(re.compile("scale=log"))
    expect(page.locator(".st-key-grid .colorbar text", has_text="0.001").first).to_be_visible()
    page.mouse.click(*cell(page, 3, 6, 2, (11, 11)))
    page.wait_for_url(re.compile(r"scale=log.*head=3.*query=6.*key=2"))
    again = new_page()
    again.goto(page.url)
    expect(again.get_by_text("Head 3: how much query 6 “because” attends to key 2 “sat”")).to_be_visible()
    assert again.url == page.url


def test_an_example_opens_from_the_gallery(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/gallery")
    page.locator(".st-key-open-ALiBi button, .st-key-open\\:ALiBi button").first.click()
    wait_for_heads(page, 8)
    page.wait_for_url(re.compile("score_bias=alibi"))


@pytest.mark.parametrize("name", ["gallery", "reference"])
def test_the_first_visitor_of_all_may_come_by_a_link_to_a_page(
    browser: Browser, tmp_path: Path, repository: Path, name: str
) -> None:
    with serving(repository / "app.py", tmp_path / "server.log") as fresh, browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{fresh.url}/{name}")
        page.get_by_role("link", name="Explore").click()
        wait_for_heads(page, 4)


def test_the_app_may_live_under_a_path_of_its_server(
    browser: Browser, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_BASE_URL_PATH", "school/attention")
    with serving(repository / "app.py", tmp_path / "server.log") as server, browser.new_context() as context:
        page = context.new_page()
        assert server.url.endswith("/school/attention")
        page.goto(f"{server.url}/?num_heads=2")
        wait_for_heads(page, 2)


def test_an_uploaded_array_is_the_query(page: Page, app_url: str, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(5, 64)).astype("f4")
    np.save(tmp_path / "mine.npy", array)
    page.goto(f"{app_url}/?source=upload&mask=full")
    expect(page.get_by_role("alert")).to_contain_text("query_file must be an uploaded file")
    page.get_by_role("region", name="query file").locator("input[type=file]").set_input_files(tmp_path / "mine.npy")
    expect(page.get_by_text("weights [1, 4, 5, 5]")).to_be_visible()
    page.mouse.move(*cell(page, 1, 3, 2, (5, 5)))
    tip = page.locator(".st-key-grid .mha-tip")
    exact = mv.run(Scenario(mask="full"), mv.Inputs.of(torch.from_numpy(array))).layers[0].weights[0, 1, 3, 2]
    expect(tip).to_contain_text(re.compile(r"\d"))
    assert any(
        abs(float(n) - float(exact)) < 1e-3 * float(exact) for n in re.findall(r"\d+\.\d+(?:e-?\d+)?", tip.inner_text())
    )


def test_a_file_that_is_no_array_is_refused_in_one_sentence(page: Page, app_url: str, tmp_path: Path) -> None:
    (tmp_path / "bad.npy").write_bytes(b"not an array at all")
    page.goto(f"{app_url}/?source=upload")
    page.get_by_role("region", name="query file").locator("input[type=file]").set_input_files(tmp_path / "bad.npy")
    expect(page.get_by_role("alert").first).to_contain_text("bad.npy")


def download(page: Page, name: str) -> bytes:
    with page.expect_download() as started:
        page.get_by_role("button", name=name).click()
    return Path(started.value.path()).read_bytes()


def test_downloads_hold_what_is_shown(page: Page, app_url: str, tmp_path: Path) -> None:
    opened(page, app_url)
    page.get_by_text("Download and share").click()
    weights = mv.run(Scenario()).layers[0].weights
    with np.load(io.BytesIO(download(page, "weights .npz"))) as file:
        np.testing.assert_array_equal(file["weights"], weights.numpy())
    rows = list(csv.reader(io.StringIO(download(page, "weights .csv").decode())))
    assert len(rows) == 1 + 4 * 11
    assert b"plotly" in download(page, "figure .html").lower()
    (tmp_path / "attention.py").write_bytes(download(page, "script .py"))
    names = runpy.run_path(str(tmp_path / "attention.py"))
    assert torch.equal(names["weights"], weights)


def test_the_reference_lists_masks_and_settings(page: Page, app_url: str) -> None:
    page.goto(f"{app_url}/reference")
    expect(page.get_by_text("causal_bottom_right").first).to_be_visible()
    expect(page.get_by_text("average_attn_weights").first).to_be_visible()


def test_the_page_says_what_the_browser_may_load(page: Page, app_url: str) -> None:
    response = page.goto(app_url)
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "'unsafe-eval'" not in policy
    assert "default-src 'self'" in policy


def test_a_change_during_a_long_text_keeps_the_last_one(page: Page, app_url: str) -> None:
    opened(page, app_url, "source=normal")
    page.get_by_text("More: Inputs").click()
    length = page.get_by_role("spinbutton", name="query_len")
    for value in ("5", "6", "7", "8", "9"):
        length.fill(value)
        length.press("Enter")
    expect(page.get_by_text("weights [1, 4, 9, 9]")).to_be_visible()
    page.wait_for_url(re.compile("query_len=9"))


MARKUP = (
    "[Log in](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "https://evil.example www.evil.example a@evil.example",
    "<https://evil.example> <b>x</b> &lt;b&gt;",
    "q**999**999 *x* _x_ __import__(x) ~~x~~ ~x~",
    "`x` $x^2$ :red[x] :smile: :material/home:",
    "a_b q * k # x | y cuda:77",
)


@pytest.mark.parametrize("text", MARKUP)
def test_what_a_link_brings_is_text_and_never_markup(page: Page, app_server, text: str) -> None:
    page.goto(f"{app_server.url}/?{urlencode({'dtype': text})}")
    alert = page.get_by_test_id("stAlert").first
    expect(alert).to_contain_text("link's value")
    assert f"not '{text}'." in alert.inner_text().replace(say.WORD_JOINER, "")
    assert alert.locator("p > *").count() == 0


def _at(page: Page, address: str) -> None:
    until(lambda: page.evaluate("location.pathname + location.search") == address)


def test_back_and_forward_go_through_the_settings(page: Page, app_server) -> None:
    page.goto(f"{app_server.url}/?seed=5")
    seed = page.get_by_label("seed", exact=True)
    for value in ("6", "7"):
        seed.fill(value)
        seed.press("Enter")
        _at(page, f"/?seed={value}")
    for move, value in (("back", "6"), ("back", "5"), ("forward", "6")):
        page.evaluate(f"history.{move}()")
        expect(seed).to_have_value(value)
        _at(page, f"/?seed={value}")
    page.get_by_role("button", name="Undo").click()
    expect(seed).to_have_value("5")


@pytest.mark.parametrize("name", ["Gallery", "Reference"])
def test_a_page_without_settings_keeps_them_in_its_address(page: Page, app_server, name: str) -> None:
    page.goto(f"{app_server.url}/?seed=5&num_heads=8")
    page.get_by_role("link", name=name).click()
    _at(page, f"/{name.lower()}?num_heads=8&seed=5")
    page.reload()
    page.get_by_role("link", name="Explore").click()
    expect(page.get_by_label("seed", exact=True)).to_have_value("5")


def test_a_file_that_came_with_the_link_can_be_taken_out(page: Page, app_server, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.zeros((1, 4, 8), np.float32))
    page.goto(f"{app_server.url}/?source=upload&embed_dim=8&num_heads=2")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "q.npy")
    until(lambda: "query_file=" in page.url or "query_file=" in page.evaluate("location.search"))
    # The box has a cross of its own.
    expect(page.get_by_role("button", name="Put it away", exact=True)).to_have_count(0)
    page.reload()
    page.get_by_role("button", name="Put it away", exact=True).click()
    _at(page, "/?source=upload&embed_dim=8&num_heads=2")


@pytest.mark.parametrize(("path", "title"), [("", "Explore"), ("masks", "Masks"), ("reference", "Reference")])
def test_tabs_are_told_apart_by_their_titles(page: Page, app_server, path: str, title: str) -> None:
    page.goto(f"{app_server.url}/{path}")
    until(lambda: page.title() == f"{title} · MHA Viz")
