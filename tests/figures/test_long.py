"""Pictures of long sequences against the module's own weights, pooled as pictures of short sequences are."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import mha_viz as mv
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.streamed import StreamedAttention, streamed
from mha_viz.figures import grammar, long, long_heads, pooling, states
from mha_viz.figures.grammar import Codes, Floats
from mha_viz.figures.long import Colours
from mha_viz.figures.long_heads import Blocks, HeadPicture
from mha_viz.scenario import Scenario

SMALL = Scenario(source="normal", embed_dim=16, num_heads=2, query_len=300)
CASES = {
    "plain": SMALL,
    "causal": replace(SMALL, mask="causal"),
    "by head": replace(SMALL, mask="window(3) | (h == 1)"),
    "padding": replace(SMALL, padding="200"),
    "padding in a masked block": replace(SMALL, mask="causal", padding="152"),
    "NaN rows": replace(SMALL, mask="causal & (q > 70)"),
    "NaN rows in one head": replace(SMALL, mask="(h == 1) | (q > 70)"),
    "all NaN": replace(SMALL, padding="0"),
    "extra columns": replace(SMALL, add_bias_kv=True, add_zero_attn=True, mask="causal", padding="100"),
    "cross-attention": replace(SMALL, key_len=90, mask="(k <= q)"),
    "more keys": replace(SMALL, query_len=70, key_len=500),
    "bias": replace(SMALL, score_bias="alibi", mask="window(20)"),
}


def never() -> bool:
    return False


def unheard(share: float) -> None:
    assert 0 <= share <= 1


def cut(s: Scenario) -> Blocks:
    """Return blocks as of a much longer sequence."""
    length, keys = streamed(s).shape[2:]
    return next(b for size in range(100, 63, -1) if (b := sized(length, keys, size)) is not None)


def sized(length: int, keys: int, size: int) -> Blocks | None:
    small, large = sorted((-(-length // size), -(-keys // size)))
    return None if large % small or large == 1 else Blocks(length, keys, size, large)


@cache
def made(s: Scenario) -> tuple[LayerAttention, StreamedAttention, Blocks, list[HeadPicture]]:
    blocks, layer = cut(s), streamed(s)
    found = [long_heads.picture(layer, blocks, 0, head, stop=never, progress=unheard) for head in range(s.num_heads)]
    return mv.run(s).layers[0], layer, blocks, found


def codes(found: Codes | None, shape: tuple[int, int]) -> Codes:
    return np.zeros(shape, dtype=np.uint8) if found is None else found


def mean_of_blocks(weights: Floats, side: int) -> Floats:
    good = np.where(np.isnan(weights).any(axis=1)[:, None], np.nan, weights.astype(float))
    rows, columns = range(0, weights.shape[0], side), range(0, weights.shape[1], side)
    parts = [[good[q : q + side, k : k + side] for k in columns] for q in rows]
    return np.array([[np.nan if np.isnan(p).all() else np.nanmean(p) for p in line] for line in parts], np.float32)


@pytest.mark.parametrize("name", CASES)
def test_blocks_are_the_pooled_weights_of_the_module(name: str) -> None:
    record, _, blocks, found = made(CASES[name])
    for head, picture in enumerate(found):
        weights = record.weights[0, head].numpy()
        assert picture.largest.shape == blocks.shape
        np.testing.assert_allclose(picture.largest, pooling.largest(weights, blocks.side), atol=5e-6)
        np.testing.assert_allclose(picture.mean, mean_of_blocks(weights, blocks.side), atol=5e-6)
        np.testing.assert_array_equal(picture.bad, np.isnan(weights).any(axis=1))


@pytest.mark.parametrize("name", CASES)
def test_states_of_blocks_are_those_of_the_pooled_figure(name: str) -> None:
    record, _, blocks, found = made(CASES[name])
    for head, picture in enumerate(found):
        expected = codes(states.of_head(record, 0, head), record.weights.shape[2:])
        np.testing.assert_array_equal(codes(picture.codes, blocks.shape), pooling.worst(expected, blocks.side))
    average = codes(states.of_average(record, 0), record.weights.shape[2:])
    joined = long_heads.states_of_average([picture.codes for picture in found])
    np.testing.assert_array_equal(codes(joined, blocks.shape), pooling.worst(average, blocks.side))


@pytest.mark.parametrize("name", CASES)
def test_finer_states_are_those_of_single_cells(name: str) -> None:
    record, layer, blocks, found = made(CASES[name])
    rows, columns = slice(blocks.side, 2 * blocks.side), slice(0, min(150, blocks.keys))
    finer = long_heads.states(layer, rows, columns, 1, 0, {head: picture.bad for head, picture in enumerate(found)})
    for head in finer:
        expected = codes(states.of_head(record, 0, head), record.weights.shape[2:])[rows, columns]
        np.testing.assert_array_equal(codes(finer[head], expected.shape), expected)


@pytest.mark.parametrize(("length", "keys", "heads"), [(131_072, 131_074, 8), (8_192, 8_193, 4), (65_536, 700, 64)])
def test_blocks_of_a_long_sequence_are_square_and_few(length: int, keys: int, heads: int) -> None:
    blocks = Blocks.of(length, keys, heads)
    assert heads * blocks.shape[0] * blocks.shape[1] <= long_heads.CELLS
    assert max(blocks.shape) > 100
    own = -(-length // blocks.size), -(-keys // blocks.size)
    assert tuple(step * side for step, side in zip(blocks.steps, own, strict=True)) == (blocks.side, blocks.side)


@pytest.mark.parametrize("scale", grammar.SCALES)
def test_colours_are_those_of_every_figure_and_the_same_at_every_zoom(scale: grammar.Scale) -> None:
    *_, blocks, found = made(CASES["causal"])
    weights = np.stack([head.largest for head in found])
    colours = Colours.of(list(weights), scale)
    expected, low, high, _ = grammar.scaled(weights, scale)
    assert (colours.low, colours.high) == (low, high)
    for panel in range(2):
        np.testing.assert_allclose(colours.shown(weights[panel], panel), expected[panel], rtol=1e-6)
        part = colours.shown(weights[panel][4:5, 2:3], panel, np.array([4]))
        np.testing.assert_allclose(part, expected[panel][4:5, 2:3], rtol=1e-6)
    assert blocks.side > 1


def test_heads_that_are_not_computed_yet_say_so_and_show_nothing() -> None:
    *_, blocks, found = made(SMALL)
    spec = long.grid([None, found[1]], ["head 0", "head 1"], blocks, "shared")
    assert [panel["pending"] for panel in spec["layout"]["meta"]["panels"]] == [True, False]
    weights = [trace for trace in spec["data"] if trace["meta"]["layer"] == "weights"]
    assert np.isnan(weights[0]["z"]).all()
    np.testing.assert_array_equal(weights[1]["z"], found[1].largest)
    assert weights[0]["zmax"] == pytest.approx(found[1].largest.max())


def test_nothing_is_computed_yet() -> None:
    spec = long.grid([None, None], ["head 0", "head 1"], cut(SMALL), "per row")
    assert all(np.isnan(trace["z"]).all() for trace in spec["data"])


def test_heads_with_one_mask_share_one_array_of_states() -> None:
    *_, blocks, found = made(CASES["causal"])
    spec = long.grid(found, ["head 0", "head 1"], blocks, "shared")
    first, second = (trace["z"] for trace in spec["data"] if trace["meta"]["layer"] == "state")
    assert first is second


def test_the_average_is_the_mean_over_heads_of_each_block() -> None:
    record, _, blocks, found = made(CASES["extra columns"])
    spec = long.detail(found, 1, ["head 0", "head 1"], blocks, "shared")
    panels = spec["layout"]["meta"]["panels"]
    assert [panel["title"] for panel in panels] == ["head 1: largest", "average of 2 heads: mean"]
    assert panels[1]["pooling"] == "mean"
    one, average = (trace for trace in spec["data"] if trace["meta"]["layer"] == "weights")
    np.testing.assert_array_equal(one["z"], found[1].largest)
    expected = mean_of_blocks(record.average[0].numpy(), blocks.side)
    np.testing.assert_allclose(average["customdata"], expected, atol=5e-6)


def test_labels_name_the_first_and_last_token_of_each_block() -> None:
    queries, keys = long.labels(Blocks(10, 7, 64, 4))
    assert queries == ("0 … 3", "4 … 7", "8 … 9")
    assert keys == ("0 … 3", "4 … 6")


def test_a_row_is_drawn_as_the_largest_of_neighbouring_keys() -> None:
    weights = np.random.default_rng(0).random(1_300, dtype=np.float32)
    (bars,) = long.row(weights, key=700)["data"]
    assert len(bars["y"]) == 434
    np.testing.assert_array_equal(bars["y"], [weights[at : at + 3].max() for at in range(0, 1_300, 3)])
    assert bars["marker"]["color"].index("rgb(253,180,37)") == 233
    assert bars["customdata"][233] == "699 … 701"


def test_a_short_row_is_drawn_key_by_key_and_nan_as_nothing() -> None:
    weights = np.array([0.25, np.nan, 0.75], dtype=np.float32)
    (bars,) = long.row(weights)["data"]
    np.testing.assert_array_equal(bars["y"], weights)
    assert bars["customdata"] == ["0", "1", "2"]


def test_the_figure_of_a_streamed_run_shows_the_blocks_of_every_head(monkeypatch: pytest.MonkeyPatch) -> None:
    s = replace(SMALL, query_len=1_100, mask="causal")
    held = mv.run(s).layers[0]
    monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "4")
    run = mv.run(s)
    assert run.layers[0].streamed is not None
    figure = mv.figures.head_grid(run)
    side = figure.layout.meta["pool"]
    shown = [trace for trace in figure.data if trace.meta["layer"] == "weights"]
    assert side == 3
    assert len(shown) == 2
    for weights, trace in zip(held.weights[0], shown, strict=True):
        np.testing.assert_allclose(np.asarray(trace.z), pooling.largest(weights.numpy(), side), atol=2e-6)
