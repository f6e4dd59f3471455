"""Weights over a picture."""

from __future__ import annotations

import base64
import io

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from PIL import Image

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError, ScenarioError
from mha_viz.figures import grammar
from mha_viz.figures.over_image import grid_of, patches

ROWS, COLUMNS = 2, 3
PATCHES = tuple(f"{row},{column}" for row in range(ROWS) for column in range(COLUMNS))
TOKENS = ("[CLS]", "<reg>", *PATCHES)


def _run(tokens=TOKENS, weights=None, key_padding_mask=None):
    if weights is None:
        weights = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    layer = LayerAttention(
        "attention", weights, None, weights, 0.0, None, key_padding_mask, query_tokens=(tokens,), key_tokens=(tokens,)
    )
    return Run((layer,), None, None, "cpu", "float32", None)


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))


@pytest.mark.parametrize("head", [0, 1, None])
def test_each_patch_has_its_weight_where_it_stands(image, head):
    run = _run()
    spec = patches(run, image, head=head, query=4)
    row = run.layers[0].weights[0].mean(dim=0)[4] if head is None else run.layers[0].weights[0, head, 4]
    (heat,) = spec["data"]
    for row_, column in np.ndindex(ROWS, COLUMNS):
        assert heat["z"][row_, column] == row[2 + row_ * COLUMNS + column]
    assert heat["zmax"] == row[2:].max()
    assert all(colour.startswith("rgba(") and colour.endswith(",0.55)") for _, colour in heat["colorscale"])
    assert type(go.Figure(spec)) is go.Figure


def test_the_title_tells_head_query_and_the_weight_on_special_tokens(image):
    run = _run()
    weights = run.layers[0].weights[0, 1, 4]
    title = patches(run, image, head=1, query=4)["layout"]["title"]["text"]
    expected = f"head 1, query 0,2; weight on [CLS]: {weights[0]:.3g}; weight on &lt;reg&gt;: {weights[1]:.3g}"
    assert title == expected
    assert patches(run, image)["layout"]["title"]["text"].startswith("average of heads, query [CLS]; weight on [CLS]: ")


def test_the_picture_lies_under_the_whole_grid(image):
    layout = patches(_run(), image)["layout"]
    (placed,) = layout["images"]
    assert (placed["x"], placed["y"], placed["sizex"], placed["sizey"]) == (-0.5, -0.5, COLUMNS, ROWS)
    assert layout["xaxis"]["range"] == [-0.5, COLUMNS - 0.5]
    assert layout["yaxis"]["range"] == [ROWS - 0.5, -0.5]  # rows from the top
    assert layout["yaxis"]["scaleratio"] == (20 / ROWS) / (30 / COLUMNS)
    held = Image.open(io.BytesIO(base64.b64decode(placed["source"].partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(held), np.asarray(image))


def test_the_querys_own_patch_is_framed_and_a_special_token_has_none(image):
    shapes = patches(_run(), image, query=2 + 4)["layout"]["shapes"]
    assert {(s["x0"], s["x1"], s["y0"], s["y1"]) for s in shapes} == {(0.5, 1.5, 0.5, 1.5)}
    assert patches(_run(), image, query=0)["layout"]["shapes"] == []


def test_nan_and_masked_patches_look_like_neither_weights_nor_each_other(image):
    weights = _run().layers[0].weights.clone()
    padding = torch.zeros(1, 8, dtype=torch.bool)
    padding[0, -1] = True
    weights[..., -1] = 0
    weights[0, 0, 1] = torch.nan
    run = _run(weights=weights, key_padding_mask=padding)
    nan = patches(run, image, head=0, query=1)["data"][1]["z"]
    assert (nan == grammar.NAN).all()
    masked = patches(run, image, head=1, query=0)["data"][1]["z"]
    assert masked[1, 2] == grammar.PADDED
    assert (masked.flatten()[:-1] == grammar.PLAIN).all()


@pytest.mark.parametrize("name", ["layer", "head", "query", "item"])
def test_an_index_out_of_bounds_is_refused(image, name):
    end = {"layer": 0, "head": 1, "query": 7, "item": 0}[name]
    for index in (-1, end + 1):
        with pytest.raises(ScenarioError, match=rf"^{name} must be from 0 to {end}, not {index}\.$"):
            patches(_run(), image, **{name: index})


@pytest.mark.parametrize(
    "tokens", [("the", "cat"), ("0,0", "0,0"), ("0,0", "1,1"), ("0,0", "0,1", "1,0"), (), ("99999,99999",)]
)
def test_tokens_that_are_no_whole_grid_are_refused(tokens):
    with pytest.raises(InputError, match="only where each patch of it is a token called row,column"):
        grid_of(tokens)
