"""Small pictures: whole cells, and the grammar's colours."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

import mha_viz as mv
from mha_viz import gallery
from mha_viz.figures import grammar
from mha_viz.figures.thumbnail import data_url, painted, thumbnail


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda e: e.name)
def test_every_example_has_a_thumbnail_that_is_not_one_colour(example: gallery.Example) -> None:
    pixels = thumbnail(mv.run(example.scenario))
    length, keys = mv.run(example.scenario).layers[0].weights.shape[2:]
    assert pixels.dtype == np.uint8
    assert pixels.shape[0] % length == 0
    assert pixels.shape[1] % keys == 0
    assert 160 <= max(pixels.shape) < 320
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 2


def test_masked_and_nan_cells_have_their_own_colours() -> None:
    pixels = thumbnail(mv.run(mv.Scenario(source="normal", query_len=4, mask="k < q")), size=4)
    assert pixels.shape == (4, 4, 3)
    assert [tuple(p) for p in pixels[0].tolist()] == [(255, 79, 163)] * 4
    assert tuple(pixels[1, 3].tolist()) == (190, 190, 190)
    assert grammar.NAN_COLOUR == "rgb(255,79,163)"


def test_a_url_holds_the_picture_itself() -> None:
    pixels = thumbnail(mv.run(mv.Scenario(mask="causal")))
    kind, held = data_url(pixels).split(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(held)))), pixels)


def test_any_weights_are_painted_from_zero_to_their_largest() -> None:
    weights = np.array([[0.0, 0.5, np.nan, np.inf], [-1.0, 0.25, 0.1, 0.2]], dtype=np.float32)
    codes = np.array([[0, 0, grammar.NAN, grammar.VIOLATION], [0, 0, grammar.MASKED, grammar.BOTH]], dtype=np.uint8)
    pixels = painted(weights, codes)
    assert pixels.shape == (2, 4, 3)
    assert pixels[0].tolist() == [[68, 1, 84], [253, 231, 37], [255, 79, 163], [255, 74, 28]]
    assert pixels[1, 0].tolist() == [68, 1, 84]
    assert pixels[1, 2:].tolist() == [[190, 190, 190]] * 2
    assert painted(np.zeros((2, 2), dtype=np.float32), None).tolist() == [[[68, 1, 84]] * 2] * 2
