"""Heatmaps of the steps inside a layer: what they carry, in which colours, and what their axes are."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

import mha_viz as mv
from mha_viz.attention.stages import STEPS
from mha_viz.attention.trace import trace
from mha_viz.figures import grammar, pooling
from mha_viz.figures.grammar import BOTH, CHANGE_COLOURS, MASKED, NAN, PADDED, PLAIN, Spec
from mha_viz.figures.stages import WEIGHTS, stage, stages
from mha_viz.scenario import Scenario

CROSS = Scenario(
    source="normal",
    embed_dim=16,
    query_len=3,
    key_len=5,
    batch_size=2,
    mask="causal",
    add_bias_kv=True,
    kdim=12,
    padding=[5, 3],
)
AXES = {
    "query": ("query", "dim", 3, 16),
    "key": ("key", "dim", 5, 12),
    "value": ("key", "dim", 5, 16),
    "q_heads": ("query", "dim", 3, 4),
    "heads": ("query", "dim", 3, 4),
    **dict.fromkeys(("q", "concatenated", "output"), ("query", "dim", 3, 16)),
    **dict.fromkeys(("k", "v"), ("key", "dim", 6, 16)),
    **dict.fromkeys(("k_heads", "v_heads"), ("key", "dim", 6, 4)),
    **dict.fromkeys(("scores", "scaled", "masked", "softmax", "weights"), ("query", "key", 3, 6)),
}


def layer_of(spec: Spec, layer: str) -> list[Spec]:
    return [drawn for drawn in spec["data"] if drawn["meta"]["layer"] == layer]


def exact(drawn: Spec) -> np.ndarray:
    return drawn.get("customdata", drawn["z"])


@pytest.mark.parametrize("name", STEPS)
def test_each_stage_is_drawn_with_its_numbers_and_axes(name: str) -> None:
    found = trace(CROSS)
    spec = stage(found, name, item=1, head=2)
    (drawn,) = layer_of(spec, "weights")
    tensor = found[name][1, 2] if "H" in found.stage(name).axes else found[name][1]
    np.testing.assert_array_equal(exact(drawn), tensor.numpy())
    rows, columns, height, width = AXES[name]
    assert exact(drawn).shape == (height, width)
    (panel,) = spec["layout"]["meta"]["panels"]
    assert (panel["rows"], panel["columns"]) == (rows, columns)
    words = {"query": "query", "key": "key", "dim": "dimension"}
    assert spec["layout"]["yaxis"]["title"]["text"] == words[rows]
    assert spec["layout"]["xaxis"]["title"]["text"] == words[columns]
    assert f"{words[rows]} %{{y}}, {words[columns]} %{{x}}" in drawn["hovertemplate"]
    assert len(spec["layout"]["yaxis"]["ticktext"]) == height
    go.Figure(spec).to_json()


@pytest.mark.parametrize("name", STEPS)
def test_weights_start_at_zero_and_other_stages_are_centred_there(name: str) -> None:
    (drawn,) = layer_of(stage(trace(CROSS), name), "weights")
    finite = exact(drawn)[np.isfinite(exact(drawn))]
    if name in WEIGHTS:
        assert drawn["zmin"] == 0
        assert drawn["colorscale"] == grammar.WEIGHT_COLOURS
        assert drawn["zmax"] == finite.max()
    else:
        assert drawn["zmin"] == -drawn["zmax"]
        assert drawn["colorscale"] == CHANGE_COLOURS
        assert drawn["zmax"] == np.abs(finite).max()
    assert np.isfinite(drawn["z"]).all()


def test_masked_cells_show_from_the_stage_on_where_the_mask_has_worked() -> None:
    found = trace(CROSS)
    for name in STEPS:
        states = layer_of(stage(found, name, item=1), "state")
        assert bool(states) == (name in ("masked", "softmax", "weights"))
        for drawn in states:
            expected = [[0, MASKED, MASKED, BOTH, BOTH, 0], [0, 0, MASKED, BOTH, BOTH, 0], [0, 0, 0, PADDED, PADDED, 0]]
            expected[2][3] = expected[2][4] = BOTH
            np.testing.assert_array_equal(drawn["z"], expected)
    masked = exact(layer_of(stage(found, "masked", item=1), "weights")[0])
    assert np.isneginf(masked[0, 1])


def test_cells_that_an_edit_hides_or_opens_are_drawn_so() -> None:
    found = trace(CROSS, edits="mask[0, 0, 2, 0] = hide; mask[0, 0, 0, 1] = allow")
    (drawn,) = layer_of(stage(found, "weights"), "state")
    assert drawn["z"][2, 0] == MASKED
    assert drawn["z"][0, 1] == PLAIN
    unmasked = trace(Scenario(query_len=3, mask="full"), edits="mask[*, 1, 2, 0] = hide")
    assert layer_of(stage(unmasked, "weights"), "state") == []
    assert layer_of(stage(unmasked, "weights", head=1), "state")[0]["z"][2, 0] == MASKED


def test_nan_has_its_own_state_in_every_stage() -> None:
    found = trace(Scenario(query_len=3, mask="k < q"))
    for name in ("softmax", "weights", "heads", "output"):
        (drawn,) = layer_of(stage(found, name), "state")
        assert (drawn["z"][0] == NAN).all()
        assert not (drawn["z"][1] == NAN).any()


def test_a_change_is_drawn_beside_the_stage_it_happened_in() -> None:
    before = trace(CROSS)
    after = before.edited("q_weight[1, 2] = 3; mask[0, 0, 2, 0] = hide")
    spec = stage(after, "scores", changed_from=before)
    shown, change = layer_of(spec, "weights")
    np.testing.assert_array_equal(exact(shown), after["scores"][0, 0].numpy())
    np.testing.assert_array_equal(exact(change), (after["scores"] - before["scores"])[0, 0].numpy())
    assert change["zmin"] == -change["zmax"]
    assert [panel["title"] for panel in spec["layout"]["meta"]["panels"]] == ["scores, query · key", "change of scores"]
    masked, moved = layer_of(stage(after, "masked", changed_from=before), "weights")
    assert np.isneginf(exact(moved)[2, 0])
    assert exact(moved)[0, 1] == 0  # hidden before and after
    assert np.isfinite(moved["z"]).all()
    codes = layer_of(stage(after, "masked", changed_from=before), "state")[1]["z"]
    assert (codes[2, 0], codes[0, 1]) == (PLAIN, MASKED)
    assert masked["zmax"] == float(after["masked"][0, 0].nan_to_num(neginf=0).abs().max())


def test_stages_of_different_shapes_stand_in_one_figure() -> None:
    names = ["q_heads", "k_heads", "scores", "weights"]
    spec = stages(trace(CROSS), names)
    shapes = [drawn["z"].shape for drawn in layer_of(spec, "weights")]
    assert shapes == [(3, 4), (6, 4), (3, 6), (3, 6)]
    meta = spec["layout"]["meta"]
    assert [(panel["rows"], panel["columns"]) for panel in meta["panels"]] == [AXES[name][:2] for name in names]
    assert meta["key_tokens"][-1] == "bias_k"
    assert len(meta["query_tokens"]) == 3
    axes = {(drawn["xaxis"], drawn["yaxis"]) for drawn in spec["data"]}
    assert axes == {("x", "y"), ("x2", "y2"), ("x3", "y3"), ("x4", "y4")}
    assert {drawn["meta"]["panel"] for drawn in layer_of(spec, "state")} == {3}
    figure = go.Figure(spec)
    assert all(0 <= end <= 1 for axis in (figure.layout.xaxis4, figure.layout.yaxis4) for end in axis.domain)
    assert figure.layout.xaxis2.domain[0] > figure.layout.xaxis.domain[1]


def test_large_stages_show_the_number_farthest_from_zero_of_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "MAX_CELLS", 60)
    found = trace(Scenario(source="normal", query_len=16, mask="causal"))
    spec = stage(found, "scores")
    (drawn,) = layer_of(spec, "weights")
    side = spec["layout"]["meta"]["pool"]
    assert side == 3
    scores = torch.nn.functional.pad(found["scores"][0, 0], (0, 2, 0, 2)).reshape(6, 3, 6, 3)
    blocks = scores.permute(0, 2, 1, 3).flatten(2)
    expected = blocks.gather(2, blocks.abs().argmax(2, keepdim=True))[..., 0]
    np.testing.assert_array_equal(exact(drawn), expected.numpy())
    assert len(spec["layout"]["meta"]["query_tokens"]) == 6
    masked = stage(found, "masked")
    assert (layer_of(masked, "state")[0]["z"][0, 5], layer_of(masked, "state")[0]["z"][0, 0]) == (MASKED, PLAIN)
    assert np.isfinite(exact(layer_of(masked, "weights")[0])[0, 0])


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"name": "logits"}, r"^stage must be one of query, .*, not 'logits'\.$"),
        ({"name": "scores", "item": 2}, r"^item must be from 0 to 1, not 2\.$"),
        ({"name": "query", "item": -1}, r"^item must be from 0 to 1, not -1\.$"),
        ({"name": "scores", "head": 4}, r"^head must be from 0 to 3, not 4\.$"),
        (
            {"name": "key", "changed_from": trace(Scenario(query_len=3))},
            r"but key has \[1, 3, 64\] and \[2, 5, 12\]\.$",
        ),
    ],
)
def test_what_is_not_there_is_refused(about: dict[str, object], said: str) -> None:
    with pytest.raises(mv.ScenarioError, match=said):
        stage(trace(CROSS), **about)  # type: ignore[arg-type]
