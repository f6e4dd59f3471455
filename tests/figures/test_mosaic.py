"""All layers and heads in one mosaic: every picture in its place, pooled without loss, found again by a click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mha_viz as mv
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.errors import ScenarioError
from mha_viz.figures import SCALES, grammar, pooling, states
from mha_viz.figures.grammar import Spec
from mha_viz.figures.mosaic import layer_at, layers, outlined, short_names
from mha_viz.figures.tiles import side, tiles
from mha_viz.scenario import Scenario

Shape = tuple[int, int, int]


def layer(name: str, shape: Shape, *, causal: bool = False, seed: int = 0) -> LayerAttention:
    heads, length, keys = shape
    generator = torch.Generator().manual_seed(seed + heads * length * keys)
    mask = torch.triu(torch.ones(length, keys, dtype=torch.bool), 1) if causal else None
    scores = torch.randn(2, heads, length, keys, generator=generator)
    weights = (scores if mask is None else scores.masked_fill(mask, -torch.inf)).softmax(dim=-1)
    return LayerAttention(name, weights, None, None, 0.0, mask, None)


def run_of(*records: LayerAttention) -> Run:
    return Run(records, None, None, "cpu", "float32", None)


def stack(shapes: Sequence[Shape], *, causal: bool = False) -> Run:
    return run_of(*(layer(f"layers.{i}", shape, causal=causal, seed=i) for i, shape in enumerate(shapes)))


def trace(spec: Spec, name: str) -> Spec:
    (found,) = [t for t in spec["data"] if t.get("meta", {}).get("layer") == name]
    return found


def tile(spec: Spec, array: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Cut one picture out of the mosaic by looking every cell up."""
    meta = spec["layout"]["meta"]
    rows = [r for r in range(array.shape[0]) if any(layer_at(meta, r, c) == place for c in range(array.shape[1]))]
    columns = [c for c in range(array.shape[1]) if layer_at(meta, rows[0], c) == place]
    return array[np.ix_(rows, columns)]


def every_place(run: Run) -> list[tuple[int, int]]:
    return [(i, head) for i, record in enumerate(run.layers) for head in range(record.weights.shape[1])]


def test_each_picture_is_its_heads_weights_with_whole_cells() -> None:
    run = stack([(2, 12, 12), (2, 12, 12), (2, 12, 12)], causal=True)
    spec = layers(run, item=1)
    z, codes = trace(spec, "weights")["z"], trace(spec, "state")["z"]
    for i, head in every_place(run):
        weights = run.layers[i].weights[1, head].numpy()
        np.testing.assert_array_equal(tile(spec, z, (i, head)), weights.repeat(4, 0).repeat(4, 1))
        masked = states.of_head(run.layers[i], 1, head)
        np.testing.assert_array_equal(tile(spec, codes, (i, head)), masked.repeat(4, 0).repeat(4, 1))


def test_large_pictures_are_pooled_as_all_figures_are() -> None:
    run = stack([(3, 144, 96)], causal=True)
    broken = run.layers[0].weights.clone()
    broken[0, 0, 3:6, :4] = torch.nan  # whole blocks
    broken[0, 1, 7, 7] = torch.nan
    broken[0, 2, 0, 95] = 0.25  # a violation
    run = run_of(LayerAttention("a", broken, None, None, 0.0, run.layers[0].attn_mask, None))
    spec = layers(run)
    for head, codes in enumerate(states.of_heads(run.layers[0], 0)):
        square = np.repeat(broken[0, head].numpy(), 2, axis=0).repeat(3, axis=1)  # blocks of 3 × 2 become square
        np.testing.assert_array_equal(tile(spec, trace(spec, "weights")["z"], (0, head)), pooling.largest(square, 6))
        worst = pooling.worst(np.repeat(codes, 2, axis=0).repeat(3, axis=1), 6)
        np.testing.assert_array_equal(tile(spec, trace(spec, "state")["z"], (0, head)), worst)
    assert {grammar.NAN, grammar.VIOLATION, grammar.MASKED} <= set(np.unique(trace(spec, "state")["z"]))


@given(st.integers(1, 120), st.integers(1, 120), st.integers(1, 60), st.integers(1, 60), st.integers(0, 9))
def test_no_largest_weight_is_lost_and_every_cell_is_near_its_own(
    length: int, keys: int, height: int, width: int, seed: int
) -> None:
    record = layer("a", (1, length, keys), seed=seed)
    weights, _, codes = tiles(record, 0, (height, width))
    own = record.weights[0, 0].numpy()
    assert weights.shape == codes.shape == (1, height, width)
    assert weights.max() == own.max()
    for row in range(height):
        rows = own[row * length // height : -(-(row + 1) * length // height)]
        for column in range(0, width, 7):
            block = rows[:, column * keys // width : -(-(column + 1) * keys // width)]
            found = weights[0, row, column]
            assert found in block if height > length or width > keys else found == block.max()


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_shows_what_it_says_and_keeps_the_weights(scale: grammar.Scale) -> None:
    run = stack([(2, 100, 70), (2, 100, 70)])
    spec = layers(run, scale=scale)
    shown = trace(spec, "weights")
    exact = shown["z"] if scale == "shared" else shown["customdata"]
    np.testing.assert_array_equal(exact, trace(layers(run), "weights")["z"])
    z = shown["z"][~np.isnan(shown["z"])]
    assert shown["zmin"] <= z.min() <= z.max() <= shown["zmax"]
    for place in every_place(run):
        picture = tile(spec, shown["z"], place)
        if scale == "per row":
            np.testing.assert_array_equal(picture.max(axis=1), 1.0)
        if scale == "per head":
            assert picture.max() == 1.0


def test_layers_of_different_shapes_each_fill_their_pictures() -> None:
    run = stack([(2, 12, 12), (3, 12, 7), (1, 300, 5)])
    spec = layers(run)
    z = trace(spec, "weights")["z"]
    assert {tile(spec, z, place).shape for place in every_place(run)} == {(48, 48)}
    assert all(not np.isnan(tile(spec, z, place)).any() for place in every_place(run))
    assert len(np.unique(tile(spec, z, (1, 2)))) == 12 * 7


def test_a_click_finds_the_layer_and_the_head_and_nothing_between_them() -> None:
    run = stack([(2, 48, 48), (3, 48, 48)])
    spec = layers(run)
    meta = spec["layout"]["meta"]
    z = trace(spec, "weights")["z"]
    assert z.shape == (98, 148)
    found = [[layer_at(meta, row, column) for column in range(148)] for row in range(98)]
    places = [place for row in found for place in row]
    assert {place: places.count(place) for place in every_place(run)} == dict.fromkeys(every_place(run), 48 * 48)
    np.testing.assert_array_equal(np.isnan(z), [[place is None for place in row] for row in found])
    for row, column in ((-1, 0), (0, -1), (98, 0), (0, 148), (0, 110), (48, 0)):
        assert layer_at(meta, row, column) is None


def test_the_ground_covers_all_that_is_no_picture_and_nothing_else() -> None:
    spec = layers(stack([(2, 10, 10), (3, 10, 10), (1, 10, 10)]))
    z = trace(spec, "weights")["z"]
    covered = np.zeros(z.shape, dtype=bool)
    for box in spec["layout"]["shapes"]:
        top, bottom, left, right = (round(box[name] + 0.5) for name in ("y0", "y1", "x0", "x1"))
        covered[top:bottom, left:right] = True
    np.testing.assert_array_equal(covered, np.isnan(z))


def test_hover_and_axes_name_layers_and_heads() -> None:
    run = stack([(2, 5, 5), (2, 5, 5)])
    spec = layers(run)
    (points,) = [t for t in spec["data"] if t["type"] == "scatter"]
    assert points["text"] == ["0, head 0", "0, head 1", "1, head 0", "1, head 1"]
    for x, y, largest, place in zip(points["x"], points["y"], points["customdata"], every_place(run), strict=True):
        assert layer_at(spec["layout"]["meta"], round(y), round(x)) == place
        assert largest == run.layers[place[0]].weights[0, place[1]].max()
    assert spec["layout"]["yaxis"]["ticktext"] == ["0", "1"]
    assert spec["layout"]["xaxis"]["ticktext"] == spec["layout"]["xaxis2"]["ticktext"] == ["0", "1"]


def test_heads_that_were_chosen_keep_their_numbers() -> None:
    first, second = (layer(name, (2, 4, 4)) for name in "ab")
    chosen = [LayerAttention(r.name, r.weights, None, None, 0.0, None, None, heads=(5, 2)) for r in (first, second)]
    assert layers(run_of(*chosen))["layout"]["xaxis"]["ticktext"] == ["5", "2"]
    assert layers(run_of(chosen[0], second))["layout"]["xaxis"]["ticktext"] == ["0", "1"]


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["encoder.layers.0.self_attn", "encoder.layers.1.self_attn"], ["0.self_attn", "1.self_attn"]),
        (["self_attn"], ["self_attn"]),
        (["a.b.attn"], ["a.b.attn"]),
        (["attn", "attn"], ["0: attn", "1: attn"]),
        (["a", "a.b"], ["a", "a.b"]),
        (["x" * 30 + ".1", "y" * 30 + ".2"], ["…" + "x" * 21 + ".1", "…" + "y" * 21 + ".2"]),
        (["<b>", "&"], ["<b>", "&"]),
    ],
)
def test_names_are_short_and_differ(names: list[str], short: list[str]) -> None:
    run = run_of(*(layer(name, (1, 2, 2)) for name in names))
    assert short_names(run) == short
    assert layers(run)["layout"]["yaxis"]["ticktext"] == [grammar.label(name) for name in short]


def test_many_layers_and_heads_stay_within_what_a_figure_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    run = stack([(16, 60, 60)] * 24)
    spec = layers(run)
    assert trace(spec, "weights")["z"].shape == (24 * 50 - 2, 16 * 50 - 2)
    assert len(spec["data"]) == 3
    assert len(spec["layout"]["shapes"]) == 23 + 15
    assert spec["layout"]["height"] < 1_500
    monkeypatch.setattr("mha_viz.figures.mosaic.MAX_CELLS", 200_000)
    assert trace(layers(run), "weights")["z"].size <= 200_000
    assert layers(run, size=10)["layout"]["meta"]["mosaic"]["height"] == 10


@pytest.mark.parametrize("scenario", [Scenario(), Scenario(source="normal", query_len=6, mask="k < q")])
def test_it_is_a_plain_plotly_figure(scenario: Scenario) -> None:
    figure = go.Figure(layers(mv.run(scenario)))
    figure.to_json()
    assert [type(t) for t in figure.data] == [go.Heatmap, go.Heatmap, go.Scatter]


@pytest.mark.parametrize("item", [-1, 2])
def test_an_item_out_of_bounds_is_refused(item: int) -> None:
    with pytest.raises(ScenarioError) as caught:
        layers(stack([(1, 2, 2)]), item=item)
    assert str(caught.value) == f"item must be from 0 to 1, not {item}."


@pytest.mark.parametrize(
    ("count", "size", "cells"), [(12, 48, 48), (11, 48, 44), (48, 48, 48), (49, 48, 48), (1, 5, 5)]
)
def test_cells_are_equally_large_where_they_can_be(count: int, size: int, cells: int) -> None:
    assert side(count, size) == cells


def test_the_open_picture_is_outlined_and_the_shared_figure_is_left_alone() -> None:
    spec = layers(mv.run(Scenario(stack="encoder", num_layers=3, num_heads=2, embed_dim=8)))
    before = len(spec["layout"]["shapes"])
    found = outlined(spec, 2, 1)
    assert len(spec["layout"]["shapes"]) == before
    box = found["layout"]["shapes"][-1]
    corners = [(box["y0"] + 0.5, box["x0"] + 0.5), (box["y1"] - 0.5, box["x1"] - 0.5)]
    assert [layer_at(found["layout"]["meta"], int(row), int(column)) for row, column in corners] == [(2, 1)] * 2
