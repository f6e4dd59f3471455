"""Heatmaps: the arrays and states that they carry, for every colour scale."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

import mha_viz as mv
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.figures import SCALES, grammar, heads, states
from mha_viz.scenario import Scenario

BROKEN = Scenario(source="normal", query_len=6, mask="k < q")


def traces(spec: grammar.Spec, layer: str) -> list[grammar.Spec]:
    return [t for t in spec["data"] if t["meta"]["layer"] == layer]


@pytest.mark.parametrize("make", [mv.figures.head_grid, mv.figures.average, mv.figures.head])
@pytest.mark.parametrize("scale", SCALES)
def test_figures_are_plain_plotly_figures_for_every_scale(make: object, scale: str) -> None:
    figure = make(mv.run(Scenario()), scale=scale)  # type: ignore[operator]
    assert type(figure) is go.Figure
    figure.to_json()
    assert all(type(trace) is go.Heatmap for trace in figure.data)


def test_each_heads_heatmap_is_that_heads_weights() -> None:
    run = mv.run(Scenario())
    found = traces(heads.head_grid(run), "weights")
    assert len(found) == 4
    for h, trace in enumerate(found):
        assert trace["name"] == f"head {h}"
        np.testing.assert_array_equal(trace["z"], run.layers[0].weights[0, h].numpy())
        assert trace["zmin"] == 0
        assert trace["zmax"] == float(run.layers[0].weights[0].max())


def test_average_and_single_head_show_their_weights() -> None:
    run = mv.run(Scenario(text="one two three\nfour five six", mask="full"))
    np.testing.assert_array_equal(
        traces(heads.average(run, item=1), "weights")[0]["z"], run.layers[0].average[1].numpy()
    )
    np.testing.assert_array_equal(
        traces(heads.head(run, 2, item=1), "weights")[0]["z"], run.layers[0].weights[1, 2].numpy()
    )


@pytest.mark.parametrize("scale", ["per head", "per row", "log"])
def test_scaled_colours_keep_the_exact_weights_for_hover(scale: str) -> None:
    run = mv.run(Scenario())
    weights = run.layers[0].weights[0].numpy()
    for h, trace in enumerate(traces(heads.head_grid(run, scale=scale), "weights")):  # type: ignore[arg-type]
        np.testing.assert_array_equal(trace["customdata"], weights[h])
        expected = {
            "per head": weights[h] / weights[h].max(),
            "per row": weights[h] / weights[h].max(axis=1, keepdims=True),
            "log": np.log10(np.maximum(weights[h], 1e-6)),
        }[scale]
        np.testing.assert_allclose(trace["z"], expected, rtol=1e-5)
        assert (trace["z"] >= trace["zmin"] - 1e-6).all()
        assert (trace["z"] <= trace["zmax"] + 1e-6).all()


def test_scales_of_nan_rows_and_empty_heads_do_not_warn() -> None:
    run = mv.run(BROKEN)
    for scale in SCALES:
        for trace in traces(heads.head_grid(run, scale=scale), "weights"):
            assert np.isnan(trace["z"][0]).all()
            assert not np.isnan(trace["z"][1:]).any()


def test_states_tell_masked_padded_both_and_nan_apart() -> None:
    s = Scenario(text="one two three\nfour", mask="causal")
    codes = states.of_heads(mv.run(s).layers[0], 1)[0]
    assert codes is not None
    M, P, B = grammar.MASKED, grammar.PADDED, grammar.BOTH
    np.testing.assert_array_equal(codes, [[0, B, B], [0, P, B], [0, P, P]])
    assert M not in codes
    first = states.of_heads(mv.run(BROKEN).layers[0], 0)[0]
    assert first is not None
    assert (first[0] == grammar.NAN).all()
    assert (first[1:][np.triu_indices(5, 1, 6)] == M).all()


def test_a_leak_is_a_violation_in_that_head_and_in_the_average() -> None:
    weights = torch.zeros(1, 2, 2, 2)
    weights[0, 1, 0, 1] = 0.5
    hidden = torch.tensor([[False, True], [False, False]])
    layer = LayerAttention("x", weights, torch.zeros(1, 2, 1), None, 0.0, hidden, None)
    clean, leaky = states.of_heads(layer, 0)
    np.testing.assert_array_equal(clean, [[0, grammar.MASKED], [0, 0]])
    np.testing.assert_array_equal(leaky, [[0, grammar.VIOLATION], [0, 0]])
    np.testing.assert_array_equal(states.of_average(layer, 0), leaky)


def test_heads_with_one_mask_share_one_array_of_states() -> None:
    codes = states.of_heads(mv.run(Scenario()).layers[0], 0)
    assert len({id(c) for c in codes}) == 1
    assert states.of_heads(mv.run(Scenario(mask="full")).layers[0], 0) == [None] * 4


def test_a_mask_of_one_head_is_drawn_in_that_head_alone() -> None:
    run = mv.run(Scenario(mask="causal | (h > 0)"))
    codes = states.of_heads(run.layers[0], 0)
    assert codes[0] is not None
    assert codes[0].any()
    assert not any(c.any() for c in codes[1:] if c is not None)
    average = states.of_average(run.layers[0], 0)
    assert average is not None
    assert not average.any()
    assert states.of_mask(run.layers[0], 0, 0) is not None


def test_every_state_has_its_own_colour_in_the_plain_figure() -> None:
    def colour(code: int) -> str:
        place = (code + 0.5) / (grammar.VIOLATION + 1)
        return next(c for edge, c in reversed(grammar.STATE_COLOURSCALE) if edge <= place)

    assert colour(grammar.PLAIN) == "rgba(0,0,0,0)"
    distinct = {colour(c) for c in (grammar.PLAIN, grammar.MASKED, grammar.NAN, grammar.VIOLATION)}
    assert len(distinct) == 4


def test_hostile_tokens_are_text_in_every_label() -> None:
    hostile = "<a href='https://evil'>x</a>"
    run = Run(**mv.run(Scenario(source="normal", query_len=2)).__dict__)
    inputs = mv.Inputs(run.inputs.query, run.inputs.key, run.inputs.value, ((hostile, "b"),), ((hostile, "b"),))
    figure = mv.figures.head_grid(Run(run.layers, inputs, None, "cpu", "float32", 0.0))
    assert "<a" not in figure.to_json()
    assert "&lt;a" in figure.to_json().replace("\\u0026", "&")


def test_small_figures_name_their_tokens_in_hover_and_large_ones_their_indices() -> None:
    small = mv.figures.head(mv.run(Scenario()))
    assert small.data[0].text[0][1] == "query the, key cat"
    large = mv.figures.head(mv.run(Scenario(source="normal", query_len=80)))
    assert large.data[0].text is None


@pytest.mark.parametrize("name", ["item", "head"])
def test_an_index_out_of_bounds_is_refused(name: str) -> None:
    run = mv.run(Scenario())
    end = {"item": 1, "head": 4}[name]
    with pytest.raises(mv.ScenarioError, match=rf"^{name} must be from 0 to {end - 1}, not 9\.$"):
        mv.figures.head(run, **{name: 9})


def test_the_detail_shows_average_head_and_mask_on_common_axes() -> None:
    run = mv.run(Scenario())
    spec = heads.detail(run, 2)
    titles = [p["title"] for p in spec["layout"]["meta"]["panels"]]
    assert titles == ["average of 4 heads", "head 2", "mask of head 2"]
    mask = traces(spec, "state")[-1]
    np.testing.assert_array_equal(mask["z"] == 0, mv.mask("causal").allowed(11).numpy())
