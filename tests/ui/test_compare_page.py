"""The Compare page as a session sees it: its presets, its two sides as text, links, and what cannot be compared."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import parse_qs

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import mha_viz as mv
from mha_viz import settings
from mha_viz.attention.compare import Selected, compare
from mha_viz.export import run_file
from mha_viz.inputs.assemble import sizes
from mha_viz.scenario import Scenario
from mha_viz.ui import compare_files, compare_presets, compare_sides, compare_words, origin, state
from mha_viz.ui.compare_presets import Base
from mha_viz.ui.origin import RunFile
from mha_viz.ui.pair import Pair, Place, Side
from mha_viz.ui.view import View
from tests.ui.test_pages import opened, said, scenario, url  # noqa: F401  (a fixture)

PAGE = "pages/compare.py"
DEFAULT = "left: causal · right: full · both: head 0"

Open = Callable[..., AppTest]


def pair(app: AppTest) -> Pair:
    found: Pair = app.session_state[state.CHOSEN[Pair]]
    return found


def link(**sides: str) -> str:
    return settings.encode_query(list(sides.items()))


def test_by_default_a_causal_mask_is_compared_with_none(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    assert not app.exception
    assert not app.error
    assert DEFAULT in said(app)
    assert "110 of 121 weights differ, by at most 0.98" in said(app)
    assert url(app) == ""
    table = app.main.dataframe[0].value
    found = compare(*(Selected(mv.run(Scenario(mask=mask))) for mask in ("causal", "full"))).moved(10)
    assert table["right"].tolist() == [moved.right for moved in found]
    assert table["change"].tolist() == [moved.change for moved in found]
    assert table["query"][0] == "0 “the”"


def test_by_default_a_full_mask_is_compared_with_a_causal_one(opened: Open) -> None:  # noqa: F811
    app = opened("mask=full", page=PAGE)
    assert "left: full · right: causal" in said(app)
    assert app.selectbox(key="w:compare").value == "two masks"


@pytest.mark.parametrize("name", compare_presets.pairs(Base(Scenario())))
def test_every_preset_opens_by_its_link(opened: Open, name: str) -> None:  # noqa: F811
    wanted = compare_presets.pairs(Base(Scenario()))[name]
    app = opened(settings.to_query(wanted), page=PAGE)
    assert not app.exception
    assert pair(app) == wanted
    assert url(app) == settings.to_query(wanted)
    assert app.selectbox(key="w:compare").value == name
    if name in compare_presets.OF_OTHERS:
        assert "on the page Your model." in app.error[0].value
    else:
        assert not app.error
        assert "weights differ" in said(app)


def test_a_preset_can_be_chosen(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.selectbox(key="w:compare").select("two heads").run()
    assert pair(app) == Pair("head=0", "head=1")
    assert "left: head 0 · right: head 1" in said(app)


@pytest.mark.parametrize(
    "s",
    [
        Scenario(stack="encoder", num_layers=3),
        Scenario(stack="decoder", num_layers=2),
        Scenario(dropout=0.1, text="one two three\nfour five six"),
        Scenario(mask="full"),
    ],
    ids=lambda s: s.to_query(),
)
@pytest.mark.parametrize("name", [*compare_presets.OF_EXPLORE, *compare_presets.OF_ANY])
def test_presets_start_from_the_settings_of_explore(s: Scenario, name: str) -> None:
    base = Base(s, items=sizes(s).batch_size)
    found = compare_sides.compared(compare_presets.pairs(base)[name], View(), {Scenario: s}.__getitem__)
    assert found.found.changed
    assert found.names[0] != found.names[1]


def test_what_differs_can_be_changed_on_each_side_and_undone(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.text_area(key="w:left:mask").set_value("window( 2 )").run()
    assert pair(app) == Pair("mask=window%282%29", "mask=full")
    assert "left: window(2) · right: full" in said(app)
    app.text_area(key="w:right:mask").set_value("causl").run()
    assert "did you mean 'causal'?" in app.error[0].value
    assert pair(app) == Pair("mask=window%282%29", "mask=full")
    app.button[0].click().run()
    assert "left: full · right: window(2)" in said(app)
    next(button for button in app.sidebar.button if button.label == "Undo").click().run()
    assert "left: window(2) · right: full" in said(app)
    assert scenario(app) == Scenario()


def test_a_setting_of_both_sides_is_changed_on_both(opened: Open) -> None:  # noqa: F811
    app = opened(link(left="stack=encoder&layer=0", right="stack=encoder&layer=5"), page=PAGE)
    app.selectbox(key="w:left-right:stack").select("decoder").run()
    assert pair(app) == Pair("layer=0&stack=decoder", "layer=5&stack=decoder")


def test_any_other_setting_can_be_made_to_differ(opened: Open) -> None:  # noqa: F811
    app = opened(link(right=""), page=PAGE)
    assert "None of 121 weights differs." in said(app)
    app.selectbox(key="w:another").select("positions").run()
    assert pair(app).right == "positions=0"
    assert "left: positions on · right: positions off" in said(app)
    app.checkbox(key="w:right:positions").check().run()
    assert "None of 121 weights differs." in said(app)


def test_heads_and_their_average_can_be_compared(opened: Open) -> None:  # noqa: F811
    app = opened(link(left="head=1", right="average=1"), page=PAGE)
    assert "left: head 1 · right: average of 4 heads" in said(app)
    app.checkbox(key="w:right:average").uncheck().run()
    app.number_input(key="w:right:head").set_value(3).run()
    assert "left: head 1 · right: head 3" in said(app)


def test_a_side_can_be_written_as_text(opened: Open) -> None:  # noqa: F811
    app = opened(link(left="head=1", right="head=2&mask=full"), page=PAGE)
    assert app.session_state[state.CHOSEN[Pair]].right == "head=2&mask=full"
    assert "left: causal, head 1 · right: full, head 2" in said(app)


def test_the_view_moves_what_no_side_names(opened: Open) -> None:  # noqa: F811
    app = opened("head=2", page=PAGE)
    assert "both: head 2" in said(app)
    app.number_input(key="w:view:head").set_value(3).run()
    assert "both: head 3" in said(app)
    both = opened(link(left="head=0", right="head=1"), page=PAGE)
    assert "w:view:head" not in [number.key for number in both.number_input]


def bold(app: AppTest) -> list[str]:
    return [text.value.strip("*") for text in app.main.markdown if text.value.startswith("**")]


def test_a_chosen_cell_is_told_on_both_sides(opened: Open) -> None:  # noqa: F811
    app = opened("query=1&key=6", page=PAGE)
    assert bold(app) == ["Cells that moved most", "query 1 “cat”, key 6 “because”"]
    weight = float(mv.run(Scenario(mask="full")).layers[0].weights[0, 0, 1, 6])
    assert f"left 0 (masked), right {weight:.4g} · change +{weight:.4g}" in said(app)


def test_without_a_choice_the_cell_that_moved_most_is_told(opened: Open) -> None:  # noqa: F811
    for link_to_none in ("", "query=50&key=6"):
        assert bold(opened(link_to_none, page=PAGE))[1] == "query 0 “the”, key 0 “the”"
    assert bold(opened(link(right=""), page=PAGE)) == []


def test_runs_of_different_shapes_say_so(opened: Open) -> None:  # noqa: F811
    app = opened(link(right="text=one two three"), page=PAGE)
    assert "the left is 11 × 11 and the right is 3 × 3" in app.error[0].value
    assert app.text_area(key="w:right:text").value == "one two three"


@pytest.mark.parametrize(
    ("sides", "error"),
    [
        ({"left": "layer=3"}, "Left: layer must be from 0 to 0, not 3: this run has only one."),
        ({"right": "head=9"}, "Right: head must be from 0 to 3, not 9: this run has 4."),
        ({"right": "num_heads=5"}, "Right: num_heads must divide embed_dim"),
        ({"left": "of=file"}, "Left: No run file is here yet: upload one on the page Your model."),
        ({"right": "of=model"}, "Right: No pretrained model is chosen yet"),
    ],
)
def test_a_side_that_cannot_run_says_which_and_why(opened: Open, sides: dict[str, str], error: str) -> None:  # noqa: F811
    app = opened(link(**sides), page=PAGE)
    assert not app.exception
    assert error in app.error[0].value


@pytest.mark.parametrize(
    ("bad", "note"),
    [
        ({"left": "mask=causl"}, "left: unknown mask 'causl'"),
        ({"right": "head=minus"}, "right: head must be a whole number from 0 to 255 or None, not 'minus'."),
        ({"left": "nonsense=1"}, "left: 'nonsense' is no setting of a side that is of=explore."),
        ({"right": "of=moon"}, "right: of must be one of explore, file, model, not 'moon'."),
        ({"left": "of=file&mask=full"}, "left: 'mask' is no setting of a side that is of=file."),
        ({"left": "text=" + "a" * 40_000}, "left"),
    ],
)
def test_a_bad_link_loses_that_side_alone(opened: Open, bad: dict[str, str], note: str) -> None:  # noqa: F811
    app = opened(link(**bad) + "&seed=3", page=PAGE)
    assert not app.exception
    assert any(note in info.value and "left out" in info.value for info in app.info), [i.value for i in app.info]
    assert pair(app) == Pair()
    assert scenario(app) == Scenario(seed=3)


def test_a_run_file_is_compared_with_explore(opened: Open) -> None:  # noqa: F811
    kept = origin.keep(run_file.to_bytes(mv.run(Scenario(seed=5))), "five.safetensors")
    app = opened(f"{settings.to_query(kept)}&{link(right='of=file')}", page=PAGE)
    assert not app.error
    assert "left: Explore's settings · right: the run file" in said(app)
    exact = compare(*(Selected(mv.run(Scenario(seed=seed))) for seed in (0, 5)))
    assert f"by at most {exact.largest:.3g}" in said(app)
    app.selectbox(key="w:right:of").select("explore").run()
    assert pair(app) == Pair("", "")


def test_two_run_files_are_compared(opened: Open) -> None:  # noqa: F811
    files = [origin.keep(run_file.to_bytes(mv.run(Scenario(seed=s))), f"{s}.safetensors") for s in (1, 2)]
    sides = {
        which: str(Side(Place("file"), {"run_file": file.run_file}))
        for which, file in zip(("left", "right"), files, strict=True)
    }
    app = opened(link(**sides), page=PAGE)
    assert not app.error
    assert "left: 1.safetensors · right: 2.safetensors" in said(app)
    assert app.selectbox(key="w:compare").value == "something else"


def test_files_hold_the_difference_and_no_formulas() -> None:
    s = Scenario(text="=1+1 two three", mask="full")
    found = compare(Selected(mv.run(s)), Selected(mv.run(replace(s, seed=1))))
    with np.load(io.BytesIO(compare_files.npz(found)), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["right"] - arrays["left"], arrays["change"])
        np.testing.assert_array_equal(arrays["left"], mv.run(s).layers[0].weights[0, 0].numpy())
        assert arrays["left_query_tokens"].tolist() == list(found.left.query_tokens)
    rows = list(csv.DictReader(io.StringIO(compare_files.csv_text(found))))
    assert len(rows) == found.cells
    assert rows[1]["query token"] == "'="
    assert float(rows[1]["change"]) == pytest.approx(float(rows[1]["right"]) - float(rows[1]["left"]), abs=1e-6)


def test_words_say_what_cannot_be_compared() -> None:
    broken = Scenario(source="normal", query_len=5, mask="k < q")
    found = compare(*(Selected(mv.run(s)) for s in (broken, replace(broken, mask="causal"))))
    assert "1 row is NaN on one side or both and left out of the mean." in compare_words.summary(found)
    assert "left NaN (masked)" in compare_words.cell(found, 0, 0)
    dropped = compare(*(Selected(mv.run(Scenario(training=True, dropout=p))) for p in (0.0, 0.25)))
    assert (
        "In train mode with dropout 0.25 a weight is set to 0 or divided by 0.75" in compare_words.summary(dropped)[1]
    )
    assert "half the sum of a row's changes" in compare_words.summary(dropped)[0]
    texts = compare(*(Selected(mv.run(Scenario(text=text))) for text in ("a cat", "a dog")))
    assert "The tokens are not the same on both sides: cells are compared by their place." in compare_words.summary(
        texts
    )
    assert compare_words.place(texts, 1, 0) == "query 1 “cat” / “dog”, key 0 “a”"


def test_a_run_files_name_is_what_a_side_is_called() -> None:
    sides = [Side(Place("file"), {"run_file": f"abc {name}.safetensors"}) for name in ("one", "two")]
    assert compare_sides.differing(*sides, lambda kind: RunFile()) == ("run_file",)
    assert parse_qs(str(sides[0]))["run_file"] == ["abc one.safetensors"]
