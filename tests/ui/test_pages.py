"""Every page as a session sees it: by default, by a link, by a bad link, after a change and after a page switch."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from streamlit.testing.v1 import AppTest

import mha_viz as mv
from mha_viz import gallery, settings
from mha_viz.masks import PATTERNS
from mha_viz.scenario import GROUPS, Scenario
from mha_viz.ui import reference, state
from mha_viz.ui.view import View

APP = Path(__file__).parents[2] / "app.py"
PAGES = [f"pages/{name}.py" for name in ("explore", "inside", "your_model", "compare", "gallery", "reference")]


@pytest.fixture
def opened() -> Callable[..., AppTest]:
    def open_app(link: str = "", page: str = "") -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=60)
        for name, value in parse_qsl(link, keep_blank_values=True):
            app.query_params[name] = value
        if page:
            app.switch_page(page)
        return app.run()

    return open_app


def scenario(app: AppTest) -> Scenario:
    found: Scenario = app.session_state[state.CHOSEN[Scenario]]
    return found


def url(app: AppTest) -> str:
    held = {name: app.query_params[name] for name in app.query_params}
    return settings.encode_query([(name, v if isinstance(v, str) else v[0]) for name, v in held.items()])


def headline(app: AppTest) -> str:
    return next(text.value for text in app.main.text if "weights [" in text.value)


def said(app: AppTest) -> str:
    return " ".join(text.value for text in app.main.text)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_without_an_error(opened: Callable[..., AppTest], page: str) -> None:
    app = opened(page=page)
    assert not app.exception
    assert not app.error


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda e: e.name)
def test_every_example_opens_by_its_link_and_keeps_it(opened: Callable[..., AppTest], example: gallery.Example) -> None:
    app = opened(example.scenario.to_query())
    assert not app.exception
    assert not app.error
    assert scenario(app) == example.scenario
    assert url(app) == example.scenario.to_query()
    shape = list(mv.run(example.scenario).layers[0].weights.shape)
    assert f"weights {shape} " in headline(app)


def test_the_boxes_below_the_picture_are_those_whose_opening_counts(opened: Callable[..., AppTest]) -> None:
    app = opened("stack=encoder&num_layers=2")
    below = {box.proto.id.rpartition("-")[2] for box in app.main.expander}
    assert below == set(state.BOXES)


def test_a_link_brings_back_the_view_too(opened: Callable[..., AppTest]) -> None:
    link = "num_heads=8&show=lines&head=3&query=5&key=2"
    app = opened(link)
    assert app.session_state[state.VIEW] == View(show="lines", head=3, query=5, key=2)
    assert set(url(app).split("&")) == set(link.split("&"))


@pytest.mark.parametrize(
    ("link", "said", "kept"),
    [
        ("num_heads=99999&seed=3", "num_heads must be a whole number from 1 to 256, not 99,999.", {"seed": 3}),
        ("embed_dim=65&seed=3", "num_heads must divide embed_dim, but 65 / 4 is not a whole number", {"seed": 3}),
        ("mask=casual&seed=3", "did you mean 'causal'?", {"seed": 3}),
        ("from_the_future=1&seed=3", "The link's setting 'from_the_future' is not known to this version", {"seed": 3}),
        ("head=-5&seed=3", "head must be a whole number from 0 to 255, not -5.", {"seed": 3}),
        ("dtype=int8&seed=3", "dtype must be one of float32, float64, bfloat16, float16, not 'int8'.", {"seed": 3}),
        ("mask=__import__('os')&seed=3", "mask", {"seed": 3}),
    ],
)
def test_a_bad_link_loses_the_bad_part_alone(
    opened: Callable[..., AppTest], link: str, said: str, kept: dict[str, Any]
) -> None:
    app = opened(link)
    assert not app.exception
    assert any(said in note.value for note in app.info)
    assert scenario(app) == Scenario(**kept)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("device=cuda:77", "device 'cuda:77' is not on this machine: choose one of cpu"),
        ("source=normal&query_len=131072&training=True&dropout=0.1", "more than the limit of 2.15 GB"),
        ("padding=99", "padding must give 1 length (one for each batch item) from 0 to 11, not '99'."),
        ("source=table&table=1+2+3", "query has vectors of size 3, but the layer expects 64"),
        ("source=upload&query_file=abc+x.npy", "The file 'x.npy' is not on this server any more: upload it again."),
        ("text=+", "text must hold at least one word"),
    ],
)
def test_what_cannot_run_says_so_and_keeps_the_settings(opened: Callable[..., AppTest], link: str, said: str) -> None:
    app = opened(link)
    assert not app.exception
    assert [said in error.value for error in app.error] == [True]
    assert scenario(app) == Scenario.from_query(link)
    assert app.sidebar.text_area(key="w:mask").value == "causal"


def test_a_change_reaches_picture_and_url(opened: Callable[..., AppTest]) -> None:
    app = opened()
    app.text_area(key="w:text").set_value("hello brave new world").run()
    assert not app.exception
    assert "weights [1, 4, 4, 4] " in headline(app)
    assert url(app) == "text=hello+brave+new+world"
    app.text_area(key="w:mask").set_value("window( 1 )").run()
    assert scenario(app).mask == "window(1)"
    assert app.text_area(key="w:mask").value == "window(1)"


def test_a_known_mask_and_an_example_can_be_chosen(opened: Callable[..., AppTest]) -> None:
    app = opened()
    app.selectbox(key="w:pattern").set_value(PATTERNS["window"].example).run()
    assert scenario(app).mask == PATTERNS["window"].example
    app.selectbox(key="w:example").set_value("ALiBi").run()
    assert scenario(app) == gallery.named("ALiBi").scenario
    assert not app.exception


def test_a_mistyped_mask_stays_in_its_box_and_costs_nothing_else(opened: Callable[..., AppTest]) -> None:
    app = opened("num_heads=8")
    app.text_area(key="w:mask").set_value("casual & window(3)").run()
    assert [("'causal'" in error.value) for error in app.error] == [True]
    assert scenario(app) == Scenario(num_heads=8)
    assert app.text_area(key="w:mask").value == "casual & window(3)"
    app.text_area(key="w:mask").set_value("causal & window(3)").run()
    assert not app.error
    assert scenario(app) == Scenario(num_heads=8, mask="causal & window(3)")


def test_two_settings_that_fit_only_together_can_be_typed_one_after_the_other(opened: Callable[..., AppTest]) -> None:
    app = opened()
    with_group_open(app, "Layer")
    app.number_input(key="w:embed_dim").set_value(90).run()
    assert any("num_heads must divide embed_dim" in error.value for error in app.error)
    assert scenario(app).embed_dim == 64
    app.number_input(key="w:num_heads").set_value(9).run()
    assert not app.error
    assert (scenario(app).embed_dim, scenario(app).num_heads) == (90, 9)


def with_group_open(app: AppTest, group: str) -> None:
    app.session_state[f"group:{group}"] = True
    app.run()


def test_every_setting_has_a_control_with_its_help(opened: Callable[..., AppTest]) -> None:
    shown: dict[str, str] = {}
    for source, stack in (("text", "attention"), ("table", "encoder"), ("normal", "encoder-decoder")):
        app = opened(f"source={source}&table=1+2&embed_dim=2&num_heads=1&num_layers=1&stack={stack}")
        for group in GROUPS:
            app.session_state[f"group:{group}"] = True
        app.run()
        for kind in ("checkbox", "number_input", "selectbox", "slider", "text_area", "text_input"):
            shown |= {w.key: w.help for w in getattr(app.sidebar, kind) if w.key.startswith("w:")}
    for name, about in settings.metadata(Scenario).items():
        if not name.endswith("_file"):
            assert shown[f"w:{name}"] == about.help


def test_changes_are_taken_back_and_made_again_one_by_one(opened: Callable[..., AppTest]) -> None:
    app = opened()

    def press(label: str) -> None:
        next(button for button in app.sidebar.button if button.label == label).click().run()

    app.text_area(key="w:text").set_value("one two").run()
    app.text_area(key="w:mask").set_value("full").run()
    press("Undo")
    assert scenario(app) == Scenario(text="one two")
    press("Redo")
    assert scenario(app) == Scenario(text="one two", mask="full")
    press("Start over")
    assert scenario(app) == Scenario()
    press("Undo")
    assert scenario(app) == Scenario(text="one two", mask="full")
    for _ in range(3):
        press("Undo")
    assert scenario(app) == Scenario()


def test_settings_survive_a_page_switch_and_the_url_with_them(opened: Callable[..., AppTest]) -> None:
    app = opened("num_heads=8&head=2")
    app.text_area(key="w:text").set_value("one two three").run()
    app.switch_page("pages/reference.py").run()
    app.switch_page("pages/explore.py").run()
    assert not app.exception
    assert scenario(app) == Scenario(num_heads=8, text="one two three")
    assert set(url(app).split("&")) == {"num_heads=8", "head=2", "text=one+two+three"}
    assert app.text_area(key="w:text").value == "one two three"


def test_the_view_bar_changes_the_view(opened: Callable[..., AppTest]) -> None:
    app = opened("text=one+two%0Athree+four&mask=full")
    app.number_input(key="w:view:item").set_value(1).run()
    app.number_input(key="w:view:head").set_value(3).run()
    assert app.session_state[state.VIEW] == View(item=1, head=3)
    assert "item=1" in url(app)


def test_what_a_session_keeps_is_small_and_plain(opened: Callable[..., AppTest]) -> None:
    app = opened("source=normal&query_len=200&num_heads=8")
    names = (*state.CHOSEN.values(), state.VIEW, state.HISTORY, state.PENDING)
    kept = {name: app.session_state[name] for name in names}
    assert len(pickle.dumps(kept)) < 5_000


def test_hostile_tokens_are_text_on_the_page(opened: Callable[..., AppTest]) -> None:
    app = opened("text=<img/src=x/onerror=alert(1)>+[click](https://evil.example)+**bold**&query=0&key=0&show=tokens")
    assert not app.exception
    for element in app.main.get("html"):
        assert "<img" not in element.proto.body
    assert all("evil" not in m.value and "bold" not in m.value for m in app.markdown)


def test_nan_rows_and_dropout_are_explained(opened: Callable[..., AppTest]) -> None:
    captions = said(opened("source=normal&mask=k+<+q"))
    assert "4 of 64 rows NaN" in captions
    assert "every key is hidden from its query" in captions
    captions = said(opened("source=normal&training=1&dropout=0.5"))
    assert "rows do not sum to 1" in captions


def test_the_reference_names_every_mask_and_setting(opened: Callable[..., AppTest]) -> None:
    app = opened(page="pages/reference.py")
    text = "\n".join(m.value for m in app.markdown)
    assert all(f"`{pattern.example}`" in text for pattern in PATTERNS.values())
    assert all(f"`{name}`" in text for name in settings.metadata(Scenario))
    assert set(reference.TABLES) == {s.value for s in app.subheader}


def test_the_gallery_shows_every_example_and_opens_it(opened: Callable[..., AppTest]) -> None:
    app = opened(page="pages/gallery.py")
    assert len(app.button) == len(gallery.EXAMPLES)
    app.button(key="open:ALiBi").click().run()
    assert not app.exception
    assert scenario(app) == gallery.named("ALiBi").scenario
