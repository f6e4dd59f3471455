"""Pictures of several layers: their numbers are those of `attention.depth`, and their labels say what they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

import mha_viz as mv
from mha_viz.attention import depth
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.stack_reach import reach_of
from mha_viz.figures import depth as pictures
from mha_viz.figures import grammar
from mha_viz.figures.grammar import Spec
from mha_viz.scenario import Scenario

ENCODER = Scenario(stack="encoder", num_layers=3, text="one <b>two</b> three\nfive six", mask="full")
BOTH = Scenario(stack="encoder-decoder", num_layers=2, text="one two three", key_text="a b c d")


@pytest.mark.parametrize("draw", [pictures.rollout, pictures.entropies, pictures.similarity, pictures.norms])
@pytest.mark.parametrize("s", [ENCODER, BOTH], ids=["encoder", "both"])
def test_every_picture_is_a_plotly_figure(draw: Callable[[Run], Spec], s: Scenario) -> None:
    spec = draw(mv.run(s))
    go.Figure({"data": spec["data"], "layout": spec["layout"]}).to_json()


def test_a_rollout_shows_the_shares_of_the_input_tokens() -> None:
    run = mv.run(ENCODER)
    spec = pictures.rollout(run, 1, 2)
    heatmap = spec["data"][0]
    np.testing.assert_array_equal(heatmap["z"], depth.rollout(run, 1)[2].numpy())
    assert heatmap["name"] == "rollout through 3 layers of self-attention"
    assert heatmap["colorbar"]["title"]["text"] == "share"
    assert "input token %{x}<br>share %{z" in heatmap["hovertemplate"]
    assert spec["layout"]["meta"]["query_tokens"] == list(run.query_tokens(1))
    assert spec["layout"]["meta"]["value_title"] == "share"
    assert spec["layout"]["xaxis"]["ticktext"][:2] == ["five", "six"]


def test_a_rollout_of_the_decoder_goes_through_its_own_layers() -> None:
    run = mv.run(BOTH)
    assert pictures.rollout(run, layer=0)["data"][0]["name"] == "rollout through 1 layer of encoder self-attention"
    heatmap = pictures.rollout(run, layer=4)["data"][0]
    assert heatmap["name"] == "rollout through 2 layers of decoder self-attention"
    np.testing.assert_array_equal(heatmap["z"], depth.rollout(run, chain=1)[1].numpy())


def test_entropies_have_a_row_for_each_layer_and_a_column_for_each_head() -> None:
    run = mv.run(BOTH)
    spec = pictures.entropies(run)
    heatmap, layout = spec["data"][0], spec["layout"]
    np.testing.assert_array_equal(heatmap["z"], depth.entropy(run).numpy())
    assert layout["yaxis"]["ticktext"][1] == grammar.label("encoder.layers.1.self_attn")
    assert layout["xaxis"]["ticktext"] == ["0", "1", "2", "3"]
    assert layout["meta"]["panels"][0] | {"rows": "layer", "columns": "head"} == layout["meta"]["panels"][0]
    assert (layout["yaxis"]["title"]["text"], layout["xaxis"]["title"]["text"]) == ("layer", "head")
    assert layout["margin"]["l"] > 150  # names need room


def test_similarity_names_layer_and_head() -> None:
    run = mv.run(BOTH)
    spec = pictures.similarity(run, layer=3)
    heatmap = spec["data"][0]
    np.testing.assert_array_equal(heatmap["z"], depth.head_similarity(run, layer=3).values.numpy())
    assert (heatmap["zmin"], heatmap["zmax"]) == (0.0, 1.0)
    assert spec["layout"]["yaxis"]["ticktext"] == [f"{layer}.{head}" for layer in (3, 5) for head in range(4)]


def test_heads_that_were_chosen_keep_their_numbers() -> None:
    some = LayerAttention("attn", torch.rand(1, 2, 3, 3), None, None, 0.0, None, None, heads=(4, 7))
    run = Run((some,), None, None, "cpu", "float32", None)
    assert pictures.similarity(run)["layout"]["yaxis"]["ticktext"] == ["0.4", "0.7"]


def test_nan_is_marked_and_not_drawn_as_a_number() -> None:
    run = mv.run(Scenario(stack="encoder", num_layers=2, source="normal", query_len=4, mask="k < q"))
    for spec in (pictures.rollout(run, 0, 0), pictures.entropies(run), pictures.similarity(run)):
        states = [trace for trace in spec["data"] if trace["meta"]["layer"] == "state"]
        broken = np.isnan(spec["data"][0]["z"])
        if broken.any():
            np.testing.assert_array_equal(states[0]["z"] == grammar.NAN, broken)
        else:
            assert not states
    assert np.isnan(pictures.rollout(run, 0, 0)["data"][0]["z"][0]).all()


def test_norms_are_a_line_and_its_range_for_each_half() -> None:
    run = mv.run(BOTH)
    spec = pictures.norms(run)
    found = depth.norms(run)
    band, line, *decoder = spec["data"]
    np.testing.assert_array_equal(line["y"], found.mean[:3].numpy())
    np.testing.assert_array_equal(band["y"], torch.cat([found.high[:3], found.low[:3].flip(0)]).numpy())
    assert [line["name"], decoder[1]["name"]] == ["encoder", "decoder"]
    assert line["line"]["dash"] != decoder[1]["line"]["dash"]  # colour is not the only cue
    assert list(line["x"]) == [0, 1, 2]
    assert line["customdata"][0].startswith("encoder.layers.0 input<br>mean ")
    assert spec["layout"]["showlegend"]
    assert not pictures.norms(mv.run(ENCODER))["layout"]["showlegend"]


def test_a_layer_that_is_not_there_is_said() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^layer must be from 0 to 2, not 3\.$"):
        pictures.rollout(mv.run(ENCODER), layer=3)
    with pytest.raises(mv.ScenarioError, match=r"^item must be from 0 to 1, not 2\.$"):
        pictures.entropies(mv.run(ENCODER), 2)


@pytest.mark.parametrize("of", ["query", "key"])
def test_a_reach_is_drawn_in_powers_of_ten_with_the_tokens_of_both_sides(of: str) -> None:
    found = reach_of(BOTH, of)
    spec = pictures.reached(mv.run(BOTH), found, of=of)
    heatmap, about = spec["data"][0], spec["layout"]["meta"]
    np.testing.assert_allclose(heatmap["z"], np.log10(np.maximum(found.numpy(), 1e-6)), rtol=1e-6)
    np.testing.assert_array_equal(heatmap["customdata"], found.numpy())
    assert heatmap["zmax"] >= heatmap["z"].max()
    assert about["query_tokens"] == ["one", "two", "three"]
    assert about["key_tokens"] == (["one", "two", "three"] if of == "query" else ["a", "b", "c", "d"])
