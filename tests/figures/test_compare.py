"""Left, right and difference: their arrays, colours and states, and what is left of them in a large picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mha_viz as mv
from mha_viz.attention.compare import Selected, compare
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.errors import ScenarioError
from mha_viz.figures import SCALES, grammar
from mha_viz.figures import compare as pictures
from mha_viz.scenario import Scenario

CAUSAL, FULL = Scenario(), Scenario(mask="full")


def drawn(left: Scenario, right: Scenario, *, head: int | None = 0, **options: object) -> grammar.Spec:
    found = compare(*(Selected(mv.run(s), head=head) for s in (left, right)))
    return pictures.compared(found, **options)  # type: ignore[arg-type]


def traces(spec: grammar.Spec, layer: str) -> dict[int, grammar.Spec]:
    return {t["meta"]["panel"]: t for t in spec["data"] if t["meta"]["layer"] == layer}


@pytest.mark.parametrize("head", [2, None])
def test_three_panels_hold_left_right_and_their_difference(head: int | None) -> None:
    spec = drawn(CAUSAL, FULL, head=head, names=("causal", "full"))
    layers = [mv.run(s).layers[0] for s in (CAUSAL, FULL)]
    a, b = ((layer.average[0] if head is None else layer.weights[0, head]).numpy() for layer in layers)
    weights = traces(spec, "weights")
    np.testing.assert_array_equal(weights[0]["z"], a)
    np.testing.assert_array_equal(weights[1]["z"], b)
    np.testing.assert_array_equal(weights[2]["z"], b - a)
    assert [p["title"] for p in spec["layout"]["meta"]["panels"]] == ["causal", "full", pictures.DIFFERENCE]
    assert spec["layout"]["meta"]["pool"] == 1


@pytest.mark.parametrize("scale", SCALES)
def test_both_sides_share_a_scale_and_the_difference_is_centred_at_zero(scale: str) -> None:
    weights = traces(drawn(CAUSAL, FULL, scale=scale), "weights")
    assert (weights[0]["zmin"], weights[0]["zmax"]) == (weights[1]["zmin"], weights[1]["zmax"])
    assert weights[2]["zmin"] == -weights[2]["zmax"]
    assert weights[2]["zmax"] == pytest.approx(np.abs(weights[2]["z"]).max())
    assert weights[2]["colorscale"] == grammar.CHANGE_COLOURS
    exact = weights[0].get("customdata", weights[0]["z"])
    np.testing.assert_array_equal(exact, mv.run(CAUSAL).layers[0].weights[0, 0].numpy())


def test_the_middle_of_the_differences_colours_is_neutral() -> None:
    places = [place for place, _ in grammar.CHANGE_COLOURS]
    colours = dict(grammar.CHANGE_COLOURS)
    assert places == sorted(places)
    assert colours[0.5] == "rgb(247,247,247)"
    assert set(colours.values()).isdisjoint({grammar.MASKED_COLOUR, grammar.NAN_COLOUR, grammar.WARNING_COLOUR})


def test_a_cell_is_grey_in_the_difference_where_both_masks_hide_it() -> None:
    spec = drawn(CAUSAL, Scenario(mask="window(2)"))
    codes = traces(spec, "state")
    for q in range(11):
        for k in range(11):
            assert (codes[0]["z"][q, k] == grammar.MASKED) == (k > q)
            assert (codes[1]["z"][q, k] == grammar.MASKED) == (abs(q - k) > 2)
            assert (codes[2]["z"][q, k] == grammar.MASKED) == (k > q and abs(q - k) > 2)
    assert 2 not in traces(drawn(CAUSAL, FULL), "state")


def test_a_cell_that_different_masks_hide_names_both() -> None:
    s = Scenario(text="one two three\nfour", mask="full")
    runs = [mv.run(s), mv.run(Scenario(text=s.text, mask="causal", padding="none"))]
    spec = pictures.compared(compare(*(Selected(run, item=1) for run in runs)))
    codes = traces(spec, "state")[2]["z"]
    assert codes[0, 2] == grammar.BOTH
    assert codes[0, 0] == codes[2, 1] == grammar.PLAIN


def test_nan_on_either_side_is_nan_in_the_difference() -> None:
    broken, whole = (Scenario(source="normal", query_len=5, mask=mask) for mask in ("k < q", "causal"))
    for pair in ((broken, whole), (whole, broken)):
        spec = drawn(*pair)
        codes = traces(spec, "state")[2]["z"]
        assert (codes[0] == grammar.NAN).all()
        assert not (codes[1:] == grammar.NAN).any()
        assert np.isfinite(traces(spec, "weights")[2]["zmax"])


def test_tokens_that_are_not_the_same_are_both_named() -> None:
    spec = drawn(Scenario(text="a cat sat"), Scenario(text="a dog sat"))
    assert spec["layout"]["meta"]["query_tokens"] == ["a", "cat / dog", "sat"]
    assert spec["layout"]["meta"]["key_tokens"] == ["a", "cat / dog", "sat"]


def test_extra_columns_are_labelled_once() -> None:
    spec = drawn(Scenario(add_bias_kv=True), Scenario(add_bias_kv=True, seed=2))
    assert len(spec["layout"]["meta"]["key_tokens"]) == 12
    assert spec["layout"]["meta"]["key_tokens"][-1] == mv.run(Scenario(add_bias_kv=True)).layers[0].extra_keys[0]


def test_equal_sides_have_a_range_all_the_same() -> None:
    found = traces(drawn(CAUSAL, CAUSAL), "weights")[2]
    assert (found["zmin"], found["zmax"]) == (-1.0, 1.0)


def test_a_large_picture_keeps_every_blocks_largest_change_with_its_sign() -> None:
    n = 2 * pictures.MAX_SIDE + 1
    left, right = torch.zeros(1, 1, n, n), torch.zeros(1, 1, n, n)
    left[0, 0, 0, 0], right[0, 0, 1, 1] = 0.75, 0.5
    right[0, 0, -1, -1] = 0.25
    runs = [
        Run((LayerAttention("x", w, None, None, 0.0, None, None),), None, None, "cpu", "float32", None)
        for w in (left, right)
    ]
    spec = pictures.compared(compare(*map(Selected, runs)))
    panels = traces(spec, "weights")
    assert spec["layout"]["meta"]["pool"] == 3
    assert panels[2]["z"].shape == (-(-n // 3),) * 2
    assert panels[2]["z"][0, 0] == -0.75
    assert panels[2]["z"][-1, -1] == 0.25
    assert (panels[0]["z"][0, 0], panels[1]["z"][0, 0]) == (0.75, 0.5)
    assert len(spec["layout"]["meta"]["query_tokens"]) == -(-n // 3)


def test_a_rows_weights_stand_side_by_side() -> None:
    found = compare(*(Selected(mv.run(s), head=1) for s in (CAUSAL, FULL)))
    spec = pictures.rows(found, 3, names=("left: a <b>", "right"), key=6)
    for bars, s in zip(spec["data"], (CAUSAL, FULL), strict=True):
        np.testing.assert_array_equal(bars["y"], mv.run(s).layers[0].weights[0, 1, 3].numpy())
    assert [bars["name"] for bars in spec["data"]] == ["left: a &lt;b&gt;", "right"]
    assert [(shape["x0"], shape["x1"]) for shape in spec["layout"]["shapes"]] == [(5.5, 6.5)]
    assert pictures.rows(found, 3)["layout"]["shapes"] == []


@pytest.mark.parametrize("query", [-1, 11])
def test_a_row_that_is_not_there_is_refused(query: int) -> None:
    found = compare(*(Selected(mv.run(s)) for s in (CAUSAL, FULL)))
    with pytest.raises(ScenarioError, match=f"query must be from 0 to 10, not {query}"):
        pictures.rows(found, query)


def test_the_change_is_called_so_under_the_pointer() -> None:
    panels = drawn(CAUSAL, FULL)["layout"]["meta"]["panels"]
    assert [panel.get("value_title", "weight") for panel in panels] == ["weight", "weight", "change"]
