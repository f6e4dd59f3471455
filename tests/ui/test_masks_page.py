"""The Masks page as a session sees it: by default, by links, through mistakes, fixes, patterns and own masks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

import mha_viz as mv
from mha_viz import gallery, settings
from mha_viz.doctor import MISTAKES, RULES
from mha_viz.given import CORRECT, Given
from mha_viz.masks import PATTERNS
from mha_viz.scenario import Scenario
from mha_viz.ui import mask_builder, state
from tests.ui.test_pages import opened, said, scenario, url  # noqa: F401  (a fixture)

PAGE = "pages/masks.py"
IDS = {"ids": lambda example: example.name}

Open = Callable[..., AppTest]


def link(example: gallery.Example) -> str:
    parts = (example.scenario.to_query(), settings.to_query(example.given))
    return "&".join(part for part in parts if part)


def given(app: AppTest) -> Given:
    found: Given = app.session_state[state.CHOSEN[Given]]
    return found


def rules(app: AppTest) -> list[str]:
    """Return the ids of the findings on the page, in order."""
    return [m.value.rpartition("`")[0].rpartition("`")[2] for m in app.main.markdown if m.value.endswith("`")]


def test_by_default_an_inverted_causal_mask_is_shown_and_explained(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    assert not app.exception
    assert "The mask is inverted" in app.error[0].value
    assert rules(app) == ["inverted-mask"]
    assert "Orange with a ring: open, but should be hidden (55 cells)." in said(app)
    assert "Yellow: hidden, but should be open (66 cells)." in said(app)
    assert any("tril()" in code.value for code in app.main.code)
    assert url(app) == ""


def test_one_click_fixes_it_and_another_breaks_it_again(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.button(key="fix:primary:inverted-mask").click().run()
    assert not app.exception
    assert [s.value for s in app.success] == ["The mask given does what was intended, in every cell."]
    assert url(app) == "fixed=inverted-mask"
    assert rules(app) == []
    app.button(key="unfix").click().run()
    assert rules(app) == ["inverted-mask"]


@pytest.mark.parametrize("example", gallery.PITFALLS, **IDS)
def test_every_pitfall_opens_by_its_link_and_shows_its_finding(opened: Open, example: gallery.Example) -> None:  # noqa: F811
    app = opened(link(example), page=PAGE)
    assert not app.exception
    assert scenario(app) == example.scenario
    assert given(app) == example.given
    assert set(url(app).split("&")) == set(link(example).split("&"))
    if example.rule:
        assert example.rule in rules(app)
    else:
        assert rules(app) == []


@pytest.mark.parametrize("example", [e for e in gallery.PITFALLS if e.rule and RULES[e.rule].repair], **IDS)
def test_one_click_on_its_fix_removes_the_finding(opened: Open, example: gallery.Example) -> None:  # noqa: F811
    app = opened(link(example), page=PAGE)
    number = rules(app).index(example.rule)
    app.button(key=f"fix:{number}:{example.rule}").click().run()
    assert not app.exception
    assert example.rule not in rules(app)
    assert not app.error


@pytest.mark.parametrize("name", MISTAKES)
def test_every_mistake_can_be_chosen_and_says_so_where_it_does_no_harm(opened: Open, name: str) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.selectbox(key="w:given:mistake").set_value(name).run()
    assert not app.exception
    assert given(app).mistake == name
    rule = MISTAKES[name].rule
    if rule not in rules(app):
        app.button(key="harm").click().run()
        assert rule in rules(app)


def test_a_mask_written_as_it_should_be_is_all_right(opened: Open) -> None:  # noqa: F811
    app = opened(f"mistake={CORRECT}", page=PAGE)
    assert not app.error
    assert [s.value for s in app.success] == ["The mask given does what was intended, in every cell."]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ("mistake=nonsense", "mistake must be one of none, inverted,"),
        ("api=keras", "api must be one of mha, sdpa, not 'keras'."),
        ("fixed=nonsense", "fixed must name rules of the doctor, not 'nonsense'."),
        ("mask=casual", "did you mean 'causal'?"),
        ("role=query", "role must be one of attn_mask, key_padding_mask, not 'query'."),
    ],
)
def test_a_bad_link_loses_the_bad_part_alone(opened: Open, bad: str, expected: str) -> None:  # noqa: F811
    app = opened(f"{bad}&seed=3", page=PAGE)
    assert not app.exception
    assert any(expected in note.value for note in app.info)
    assert scenario(app) == Scenario(seed=3)
    assert given(app) == Given()


def test_a_file_that_is_gone_is_asked_for_again_and_nothing_else_is_lost(opened: Open) -> None:  # noqa: F811
    app = opened("file=abc+x.npy&num_heads=8", page=PAGE)
    assert not app.exception
    assert [e.value for e in app.error] == ["The file 'x.npy' is not on this server any more: upload it again."]
    assert scenario(app).num_heads == 8
    assert app.sidebar.text_area(key="w:mask").value == "causal"


def test_a_mistyped_mask_costs_nothing_else(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.text_area(key="w:mask").set_value("casual").run()
    assert "'causal'" in app.error[0].value
    assert scenario(app) == Scenario()
    assert rules(app) == ["inverted-mask"]
    app.text_area(key="w:mask").set_value("causal & window(2)").run()
    assert scenario(app).mask == "causal & window(2)"


def test_settings_given_and_undo_survive_a_page_switch(opened: Open) -> None:  # noqa: F811
    app = opened("mistake=float-ones&num_heads=8", page=PAGE)
    app.text_area(key="w:mask").set_value("window(2)").run()
    app.switch_page("pages/explore.py").run()
    assert scenario(app).mask == "window(2)"
    app.switch_page(PAGE).run()
    assert given(app) == Given(mistake="float-ones")
    undo, redo = (next(b for b in app.sidebar.button if b.label == label) for label in ("Undo", "Redo"))
    undo.click().run()
    assert scenario(app) == Scenario(num_heads=8)
    redo = next(b for b in app.sidebar.button if b.label == "Redo")
    redo.click().run()
    assert scenario(app).mask == "window(2)"
    assert not app.exception


def test_undo_and_redo_cover_the_mask_given_too(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.selectbox(key="w:given:mistake").set_value("float-ones").run()
    app.button(key="fix:primary:additive-ones").click().run()
    for expected in (Given(mistake="float-ones"), Given()):
        next(b for b in app.sidebar.button if b.label == "Undo").click().run()
        assert given(app) == expected
    next(b for b in app.sidebar.button if b.label == "Redo").click().run()
    assert given(app) == Given(mistake="float-ones")


@pytest.mark.parametrize("name", [name for name in PATTERNS if name != mask_builder.PAINTED])
def test_every_pattern_can_be_put_into_the_text(opened: Open, name: str) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.session_state["group:build"] = True
    app.run()
    app.selectbox(key="w:build:pattern").set_value(name).run()
    for join, expected in (("use", "{}"), ("and", "{0} & {0}"), ("or", "{0} & {0} | {0}")):
        app.button(key=f"build:{join}").click().run()
        assert not app.exception
        built = mv.mask(scenario(app).mask)
        single = str(built) if join == "use" else single  # noqa: F821
        assert str(built) == str(mv.mask(expected.format(single)))
    assert single.startswith(name)


def test_a_patterns_number_is_set_by_its_slider(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.session_state["group:build"] = True
    app.run()
    app.slider(key="w:build:window:r").set_value(2).run()
    app.button(key="build:and").click().run()
    assert scenario(app).mask == "causal & window(2)"


def bring(app: AppTest, text: str) -> None:
    app.session_state["group:bring"] = True
    app.run()
    app.text_area(key="w:mask:text").set_value(text).run()


def test_a_pasted_mask_is_checked_against_what_was_intended(opened: Open) -> None:  # noqa: F811
    app = opened("mistake=none", page=PAGE)
    bring(app, "1 0 0\n1 1 0\n1 1 1")
    assert not app.exception
    assert (scenario(app).query_len, scenario(app).mask) == (3, "causal")
    assert given(app).file.endswith(" pasted text")
    assert rules(app) == ["inverted-mask"]
    app.selectbox(key="w:given:api").set_value("sdpa").run()
    assert rules(app) == []
    assert app.success


def test_a_pasted_mask_can_be_guessed(opened: Open) -> None:  # noqa: F811
    app = opened("mistake=none&mask=full", page=PAGE)
    bring(app, "xx...\nxxx..\n.xxx.\n..xxx\n...xx")
    app.session_state["group:guess"] = True
    app.run()
    assert any("window(1)" in text.value and "100.0%" in text.value for text in app.main.text)
    app.button(key="guess:0").click().run()
    assert scenario(app).mask == "window(1)"


def test_what_cannot_be_read_is_refused_in_one_sentence_and_changes_nothing(opened: Open) -> None:  # noqa: F811
    app = opened("mistake=none", page=PAGE)
    bring(app, "[[0, 1], [hello]]")
    assert not app.exception
    assert len(app.error) == 1
    assert given(app) == Given(mistake=CORRECT)


@pytest.mark.parametrize("name", ["reach", "paths", "guess", "code", "test", "link"])
@pytest.mark.parametrize("query", ["", "mistake=none", "mistake=inverted-sdpa", "mistake=byte-mask"])
def test_every_box_opens(opened: Open, name: str, query: str) -> None:  # noqa: F811
    app = opened(query, page=PAGE)
    app.session_state[f"group:{name}"] = True
    app.run()
    assert not app.exception


def test_reach_finds_the_leaks_of_the_broken_mask(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.session_state["group:reach"] = True
    app.run()
    assert "55 pairs leak" in said(app)
    app.button(key="fix:primary:inverted-mask").click().run()
    assert "Nothing leaks" in said(app)


def test_the_test_that_is_handed_out_is_for_this_mask(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.session_state["group:test"] = True
    app.run()
    source = app.main.code[-1].value
    assert "attn_mask" in source
    compile(source, "test_mask.py", "exec")


def test_a_mask_of_nothing_to_fix_says_why_there_is_no_test(opened: Open) -> None:  # noqa: F811
    app = opened("mistake=none", page=PAGE)
    app.session_state["group:test"] = True
    app.run()
    assert len(app.error) == 1


def test_hostile_texts_are_text_on_the_page(opened: Open) -> None:  # noqa: F811
    hostile = "text=<img/src=x/onerror=alert(1)>+[click](https://evil.example)+**bold**"
    app = opened(hostile, page=PAGE)
    assert not app.exception
    assert all("<img" not in element.proto.body for element in app.main.get("html"))
    assert all("evil" not in m.value for m in app.markdown)


def test_the_gallery_opens_a_pitfall_on_the_masks_page(opened: Open) -> None:  # noqa: F811
    app = opened(page="pages/gallery.py")
    app.button(key="open:P2 Ones as floats").click().run()
    assert not app.exception
    assert given(app) == Given(mistake="float-ones")
    assert rules(app) == ["additive-ones"]


def test_every_pitfall_that_the_doctor_can_show_is_in_the_gallery() -> None:
    named = {example.name.split()[0] for example in gallery.PITFALLS if example.name[:1] == "P"}
    assert {mistake.pitfall for mistake in MISTAKES.values()} <= named
    assert {"P12", "P13", "P14", "P15", "P16", "P17"} <= named


def test_opening_an_example_shows_the_batch_item_where_the_finding_is(opened: Open) -> None:  # noqa: F811
    app = opened(page="pages/gallery.py")
    app.button(key="open:P5 The lowest number").click().run()
    assert app.session_state[state.VIEW].item == 1
    assert "Orange with a ring" in said(app)


def test_a_finding_in_another_batch_item_can_be_gone_to(opened: Open) -> None:  # noqa: F811
    app = opened(link(gallery.named("P5 The lowest number")), page=PAGE)
    assert "Orange with a ring" not in said(app)
    app.button(key="elsewhere").click().run()
    assert "item=1" in url(app)
    assert "Orange with a ring" in said(app)
