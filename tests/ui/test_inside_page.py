"""The Inside page as a session sees it: every step, by links, through edits, for stacks, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import nn

import mha_viz as mv
from mha_viz import settings
from mha_viz.attention import edits, stages
from mha_viz.attention.trace import trace
from mha_viz.errors import CapacityError, ScenarioError
from mha_viz.scenario import Scenario
from mha_viz.ui import inside_figures, inside_results, inside_steps, origin, state
from mha_viz.ui.inside import Inside
from mha_viz.ui.inside_edits import LABELS
from mha_viz.ui.origin import RunFile
from tests.ui.test_pages import opened, scenario, url  # noqa: F401  (a fixture)

PAGE = "pages/inside.py"
STEPS = {"argvalues": inside_steps.STEPS, "ids": lambda step: step.name}

Open = Callable[..., AppTest]


def inside(app: AppTest) -> Inside:
    found: Inside = app.session_state[state.CHOSEN[Inside]]
    return found


def formulas(app: AppTest) -> str:
    return " ".join(each.value for each in app.main.latex)


def tables(app: AppTest) -> str:
    """Return what the page's own HTML says, without its tags."""
    return " ".join(re.sub("<[^>]*>", " ", each.proto.body) for each in app.main.get("html"))


def proof(app: AppTest) -> str:
    return next(caption.value for caption in app.main.caption if caption.value.startswith("Computed step by step"))


def test_every_stage_of_a_trace_is_the_result_of_one_step_in_order() -> None:
    made = [name for step in inside_steps.STEPS for name in step.after]
    assert made == list(stages.STEPS)
    for step in inside_steps.STEPS:
        assert set(step.before) <= set(made[: made.index(step.after[0])])


def test_it_opens_with_all_steps_and_the_proof(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    assert not app.exception
    assert not app.error
    numbers = re.findall(r"weights (\S+), output (\S+)\.$", proof(app))
    assert max(map(float, numbers[0])) <= 1e-6
    assert url(app) == ""


@pytest.mark.parametrize("step", **STEPS)
def test_a_link_opens_each_step_with_its_formula_and_the_real_sizes(opened: Open, step: inside_steps.Step) -> None:  # noqa: F811
    app = opened(f"batch_size=2&add_zero_attn=1&step={step.name}", page=PAGE)
    assert not app.exception
    assert not app.error
    assert app.main.subheader[0].value == step.title
    found = trace(Scenario(batch_size=2, add_zero_attn=True))
    for name in step.after:
        assert found.stage(name).formula in formulas(app)
        for size in found.stage(name).shape:
            assert f"{{=}}{size}" in formulas(app)
    assert url(app) == f"batch_size=2&add_zero_attn=True&step={step.name}".replace("True", "1")


def test_next_goes_through_all_steps_and_previous_back(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    assert app.button(key="inside-previous").disabled
    for step in inside_steps.STEPS:
        app.button(key="inside-next").click().run()
        assert app.main.subheader[0].value == step.title
    assert app.button(key="inside-next").disabled
    app.button(key="inside-previous").click().run()
    assert app.main.subheader[0].value == inside_steps.STEPS[-2].title


def test_going_through_the_steps_is_nothing_to_undo(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.text_area(key="w:edit:text").set_value("head[1]=off").run()
    app.button(key="inside-next").click().run()
    next(button for button in app.sidebar.button if button.label == "Undo").click().run()
    assert inside(app).edits == ""
    assert app.main.subheader[0].value == inside_steps.STEPS[0].title


def test_play_starts_and_pause_stops_it(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.button(key="inside-play").click().run()
    assert app.button(key="inside-play").label == "Pause"
    app.button(key="inside-play").click().run()
    assert app.button(key="inside-play").label == "Play"
    assert not app.exception


def test_the_chosen_cell_is_worked_out_to_the_modules_weight(opened: Open) -> None:  # noqa: F811
    app = opened("query=4&key=2&head=1", page=PAGE)
    weight = float(mv.run(Scenario()).layers[0].weights[0, 1, 4, 2])
    assert f"= {weight:.3g}" in formulas(app)
    assert f"A_{{4,2}}\\, v_{{2}} = {weight:.3g}" in formulas(app)
    assert "Head 1: how much query 4 “the” attends to key 2 “sat”" in tables(app)


def test_what_moved_is_what_another_run_of_the_module_gives(opened: Open) -> None:  # noqa: F811
    app = opened("edits=" + quote_plus("mask[*,*,4,2]=hide"), page=PAGE)
    assert inside(app).edits == "mask[*, *, 4, 2] = hide"
    before, after = (mv.run(Scenario(mask=mask)).layers[0] for mask in ("causal", "causal ^ cells(4, 2, 2)"))
    weights = (after.weights - before.weights).abs()
    output = (after.output - before.output).abs()
    for change in (weights, output):
        assert f"{float(change.max()):.3g}" in tables(app)
    assert "scores + mask  ∞" in re.sub(r"\s\s+", "  ", tables(app))
    assert "scores, scaled" not in tables(app), "only what moved is listed"
    assert "without the edits" in proof(app)


def test_the_differences_can_be_shown(opened: Open) -> None:  # noqa: F811
    app = opened("edits=" + quote_plus("temperature = 0.5") + "&step=softmax", page=PAGE)
    app.toggle(key="w:view:change").set_value(True).run()
    assert not app.exception
    assert "change=1" in url(app)
    spec = inside_results.figure(Scenario(), 0, "temperature = 0.5", ("softmax",), 0, 0, True)
    titles = [panel["title"] for panel in spec["layout"]["meta"]["panels"]]
    assert len(titles) == 2
    assert titles[1].startswith("change")


@pytest.mark.parametrize("kind", LABELS)
def test_the_form_changes_each_kind_of_number(opened: Open, kind: str) -> None:  # noqa: F811
    app = opened("query=4&key=2", page=PAGE)
    app.selectbox(key="w:edit:kind").set_value(kind).run()
    next(button for button in app.sidebar.button if button.label == "Apply").click().run()
    assert not app.exception
    assert not app.error
    (statement,) = edits.parse(inside(app).edits).statements
    assert statement.name == kind
    assert "numbers changed" in tables(app)
    assert "output, projected" in tables(app)


def test_a_cell_of_the_mask_can_be_hidden_in_every_head_and_allowed_again(opened: Open) -> None:  # noqa: F811
    app = opened("query=4&key=2", page=PAGE)
    app.checkbox(key="w:edit:every").check().run()
    apply = next(button for button in app.sidebar.button if button.label == "Apply")
    apply.click().run()
    assert inside(app).edits == "mask[*, *, 4, 2] = hide"
    next(button for button in app.sidebar.button if button.label == "Apply").click().run()
    assert inside(app).edits == "mask[*, *, 4, 2] = allow"


def test_the_form_knows_all_that_can_be_edited() -> None:
    assert list(LABELS) == list(edits.INDICES)


def test_a_second_edit_of_one_place_replaces_the_first() -> None:
    first = Inside(edits="head[1] = off; temperature = 0.5")
    (new,) = edits.parse("temperature = 2").statements
    assert first.with_edit(new).edits == "head[1] = off; temperature = 2"


def test_edits_can_be_taken_back_and_cleared(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.text_area(key="w:edit:text").set_value("head[1]=off").run()
    assert "edits=head" in url(app)
    next(button for button in app.sidebar.button if button.label == "Clear edits").click().run()
    assert inside(app).edits == ""
    next(button for button in app.sidebar.button if button.label == "Undo").click().run()
    assert inside(app).edits == "head[1] = off"


def test_text_that_is_no_edit_is_said_and_stays_in_its_box(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.text_area(key="w:edit:text").set_value("head 1 off").run()
    assert not app.exception
    assert app.error[0].value.startswith("edits must be statements such as 'head[h] = off'")
    assert app.text_area(key="w:edit:text").value == "head 1 off"
    assert inside(app).edits == ""


def test_edits_that_do_not_fit_the_layer_are_said_and_the_steps_shown_without_them(opened: Open) -> None:  # noqa: F811
    app = opened("edits=" + quote_plus("head[9] = off"), page=PAGE)
    assert not app.exception
    assert app.error[0].value.startswith("edits: head has h from 0 to 3, but was given head")
    assert "without the edits" not in proof(app)
    assert inside(app).edits == "head[9] = off"


@pytest.mark.parametrize("bad", ["edits=__import__('os')", "edits=head[1]", "step=nowhere", "change=maybe"])
def test_a_bad_link_loses_the_bad_part_alone(opened: Open, bad: str) -> None:  # noqa: F811
    app = opened(f"{bad}&seed=3", page=PAGE)
    assert not app.exception
    assert len(app.info) == 1
    assert scenario(app) == Scenario(seed=3)
    assert url(app) == "seed=3"


def test_each_layer_of_a_stack_has_its_steps(opened: Open) -> None:  # noqa: F811
    app = opened("stack=encoder&num_layers=2&layer=1&step=output", page=PAGE)
    assert not app.exception
    assert not app.error
    assert max(map(float, re.findall(r"weights (\S+), output (\S+)\.$", proof(app))[0])) <= 1e-6
    assert app.number_input(key="w:view:layer").value == 1


def test_weights_too_large_for_a_page_are_refused_with_the_length_that_fits_and_before_they_are_computed() -> None:
    s = Scenario(source="normal", query_len=1_100, num_heads=8)
    said = r"at most 33.6 MB, but \[1, 8, 1100, 1100\] would be 38.7 MB: reduce query_len to 1,024, use fewer heads"
    for refuse in (inside_results.check, lambda s: inside_results.traced(s, 0)):
        with pytest.raises(CapacityError, match=said):
            refuse(s)
    inside_results.check(replace(s, query_len=1_024))
    with pytest.raises(CapacityError, match=r"4, 16384, 1024\] would be 268 MB: reduce query_len to 2,048, use"):
        inside_results.check(replace(s, query_len=16_384, key_len=1_024, num_heads=4))


def test_an_edit_that_does_not_fit_the_layer_changes_nothing_and_is_said_once(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.text_area(key="w:edit:text").set_value("mask[0, 0, 99, 0] = hide").run()
    assert len(app.error) == 1
    app.text_area(key="w:edit:text").set_value("temperature = 0").run()
    assert [error.value.startswith("edits: temperature") for error in app.error] == [True]
    assert inside(app).edits == ""
    app.text_area(key="w:edit:text").set_value("temperature = 2").run()
    assert not app.error
    assert inside(app).edits == "temperature = 2"


def test_a_trace_is_computed_once_for_all_that_is_drawn_of_it() -> None:
    assert inside_results.traced(Scenario(), 0) is inside_results.traced(Scenario(), 0)


def test_inputs_that_are_one_tensor_are_one_panel_that_says_so() -> None:
    spec = inside_figures.figure(trace(Scenario()), ("query", "key", "value", "q"), 0, 0)
    panels = spec["layout"]["meta"]["panels"]
    assert [panel["stage"] for panel in panels] == ["query", "q"]
    assert panels[0]["title"] == "query = key = value"
    assert [(panel["rows"], panel["columns"]) for panel in panels] == [("query", "dim")] * 2


def test_a_clicked_cell_is_named_by_its_panels_axes() -> None:
    spec = inside_figures.figure(trace(Scenario()), ("weights", "v_heads", "heads"), 0, 0)
    assert inside_figures.touched(spec, (0, 3, 5)) == inside_figures.Touched("weights", {"query": 3, "key": 5})
    assert inside_figures.touched(spec, (1, 3, 5)) == inside_figures.Touched("v_heads", {"key": 3, "dim": 5})
    assert inside_figures.touched(spec, (9, 3, 5)) is None


def test_settings_are_checked() -> None:
    with pytest.raises(ScenarioError, match="edits must have at most 4,000 characters, not 5,000"):
        Inside(edits="x" * 5_000)
    with pytest.raises(ScenarioError, match="edits must be a text, not 3"):
        Inside(edits=3)  # type: ignore[arg-type]


def captured(tmp_path: Path, inside: bool) -> RunFile:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2).eval()
    with mv.capture(model, inside=inside) as found:
        model(torch.randn(1, 3, 16))
    found.run(tokens=["one", "two", "three"]).save(tmp_path / "mine.safetensors")
    return origin.keep((tmp_path / "mine.safetensors").read_bytes(), "mine.safetensors")


def test_the_steps_of_a_captured_layer_are_shown(opened: Open, tmp_path: Path) -> None:  # noqa: F811
    file = captured(tmp_path, inside=True)
    app = opened(settings.to_query(file) + "&inside_of=model&layer=1", page=PAGE)
    assert not app.error
    assert "weights" in proof(app)
    assert app.radio(key="w:inside_of").value == "model"
    app.radio(key="w:inside_of").set_value("explore").run()
    assert "inside_of" not in url(app)


def test_a_capture_without_what_went_in_says_how_to_keep_it(opened: Open, tmp_path: Path) -> None:  # noqa: F811
    file = captured(tmp_path, inside=False)
    app = opened(settings.to_query(file) + "&inside_of=model", page=PAGE)
    assert "capture it with inside=True" in app.error[0].value


def test_a_link_to_nothing_that_was_brought_says_so(opened: Open) -> None:  # noqa: F811
    app = opened("inside_of=model", page=PAGE)
    said = "The page Your model must show a run for this, but nothing was brought there yet."
    assert app.error[0].value.replace("\\", "") == said


def test_your_model_leads_inside_a_layer_that_can_be_traced(opened: Open, tmp_path: Path) -> None:  # noqa: F811
    app = opened(settings.to_query(captured(tmp_path, inside=True)), page="pages/your_model.py")
    assert any(button.label == "See every step inside this layer" for button in app.main.button)
    app = opened(settings.to_query(captured(tmp_path, inside=False)), page="pages/your_model.py")
    assert not any(button.label == "See every step inside this layer" for button in app.main.button)
