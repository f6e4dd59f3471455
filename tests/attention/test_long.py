"""Runs whose weights are too many to be held: the same answers, part by part, and a sentence where all are needed."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch

import mha_viz as mv
from mha_viz.attention import long, memory
from mha_viz.inputs.assemble import sizes

LIMIT = "1.5"  # MB: less than the weights below, more than their projections


def scenario(**values: Any) -> mv.Scenario:
    shared = {"source": "normal", "embed_dim": 32, "num_heads": 2, "query_len": 300, "mask": "causal & window(90)"}
    return mv.Scenario(**{**shared, **values})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold next to nothing."""
    monkeypatch.setenv(memory.LIMIT_VARIABLE, LIMIT)


@pytest.mark.parametrize(
    "more",
    [{}, {"key_len": 260}, {"add_bias_kv": True}, {"unbatched": True}, {"batch_first": False}, {"padding": [40]}],
)
def test_the_parts_are_those_of_the_modules_own_weights(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    s = scenario(**more)
    held = mv.run(s)
    monkeypatch.setenv(memory.LIMIT_VARIABLE, LIMIT)
    run = mv.run(s)
    layer, whole = run.layers[0], held.layers[0].weights
    assert layer.streamed is not None
    assert layer.weights.is_meta
    assert (layer.shape, layer.weights.dtype, layer.name) == (tuple(whole.shape), whole.dtype, held.layers[0].name)
    assert (run.query_tokens(), run.key_tokens()) == (held.query_tokens(), held.key_tokens())
    window = layer.window(1, slice(100, 180), slice(30, None))
    torch.testing.assert_close(window, whole[0, 1, 100:180, 30:], atol=2e-6, rtol=1e-5, equal_nan=True)
    torch.testing.assert_close(layer.row(0, 299), whole[0, 0, 299], atol=2e-6, rtol=1e-5, equal_nan=True)
    overview = held.layers[0].overview(1, 64)
    torch.testing.assert_close(layer.overview(1, 64), overview, atol=2e-6, rtol=1e-5, equal_nan=True)
    assert layer.stats().summary.masked == pytest.approx(held.layers[0].stats().summary.masked)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "ask",
    [
        lambda run: run.layers[0].average,
        lambda run: run.layers[0].allowed,
        lambda run: run.layers[0].key_allowed,
        lambda run: run.check(),
        lambda run: mv.figures.row(run),
        lambda run: mv.figures.layers(run),
        lambda run: mv.figures.entropies(run),
        lambda run: mv.figures.rollout(run),
        lambda run: mv.export.npz(run),
        lambda run: mv.export.csv_text(run),
    ],
)
def test_what_needs_all_weights_at_once_says_what_to_ask_for(ask: Any) -> None:
    with pytest.raises(mv.CapacityError) as caught:
        ask(mv.run(scenario(query_len=512)))
    assert str(caught.value) == (
        "All weights [1, 2, 512, 512] at once would need 0.0021 GB, more than is held: ask for a part with window(), "
        "row(), overview() or stats(), or reduce query_len."
    )
    assert caught.value.field == "query_len"


@pytest.mark.usefixtures("small")
def test_a_file_is_not_begun_for_weights_that_are_not_held(tmp_path: Path) -> None:
    with pytest.raises(mv.CapacityError, match="at once would need"):
        mv.run(scenario(query_len=512)).save(tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("small")
def test_a_notebook_shows_a_streamed_run_without_computing_its_weights() -> None:
    run = mv.run(scenario(query_len=512))
    assert "Too many to be held: ask for a part with overview()" in run._repr_html_()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("more", [{"training": True, "dropout": 0.1}, {"stack": "encoder"}])
def test_what_cannot_be_streamed_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(mv.CapacityError, match=r"more than the limit of 1\.57 MB: reduce query_len"):
        mv.run(scenario(**more))


def test_what_would_not_fit_even_streamed_is_refused_before_anything_is_allocated() -> None:
    s = mv.Scenario(source="normal", query_len=131_072, num_heads=8, embed_dim=4_096, batch_size=64)
    tracemalloc.start()
    with pytest.raises(
        mv.CapacityError, match=r"^The layer and its weights \[64, 8, 131,072, 131,072\] in float32 would need about"
    ):
        mv.run(s)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_the_longest_sequence_is_streamed_within_the_default_limit() -> None:
    s = mv.Scenario(source="normal", query_len=131_072, num_heads=8, embed_dim=64, mask="causal")
    assert long.fits(s, sizes(s))
    layer = mv.run(s).layers[0]
    assert layer.shape == (1, 8, 131_072, 131_072)
    window = layer.window(7, slice(65_000, 65_004), slice(0, 65_004))
    torch.testing.assert_close(window.sum(-1), torch.ones(4), atol=1e-4, rtol=0)
    assert (window[0, 65_001:] == 0).all()


def test_the_estimate_counts_what_a_streamed_layer_holds() -> None:
    s = scenario(query_len=4_000)
    layer = long.run(s).layers[0]
    assert layer.streamed is not None
    layer.stats()
    overviews = 2 * 2 * 4 * layer.overview(0).numel()  # of both heads, by max and mean
    held = layer.streamed.nbytes - overviews
    assert 0.3 * memory.streamed_estimate(s, sizes(s)) <= held <= memory.streamed_estimate(s, sizes(s))
