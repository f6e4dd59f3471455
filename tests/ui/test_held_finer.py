"""Finer cells of figures whose weights are held: those of the run itself, in the colours and states of the figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mha_viz as mv
from mha_viz.figures import grammar, heads, pooling
from mha_viz.figures.grammar import SCALES, Scale
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, held_finer
from mha_viz.ui.finer import Finer
from mha_viz.ui.origin import RunFile
from mha_viz.ui.view import View

S = Scenario(source="normal", query_len=40, batch_size=2, num_heads=3, embed_dim=12, mask="causal & (q > 4)")
ROWS, COLUMNS = slice(0, 24), slice(8, 28)
SIDE = 4
RUN = mv.run(S)


def made(draw: Callable[..., Any], view: View, source: Scenario = S) -> tuple[dict[str, Any], Finer]:
    """Return a figure of `S` in blocks of 4 × 4 cells, and its finer cells."""
    at = {"layer": view.layer, "item": view.item, "scale": view.colours}
    cells = 40 * 40 * 3 // SIDE**2
    if draw is held_finer.of_detail:
        spec = heads.detail(RUN, view.head, cells=cells, **at)
    else:
        spec = heads.head_grid(RUN, cells=cells, **at)
    assert spec["layout"]["meta"]["pool"] == SIDE
    return spec, draw(source, RUN, view, spec)


@pytest.mark.parametrize("item", [0, 1])
def test_single_cells_are_the_weights_of_the_run(item: int) -> None:
    _, finer = made(held_finer.of_grid, View(item=item))
    assert (finer.rows, finer.columns, finer.side) == (40, 40, SIDE)
    above = np.arange(8, 28)[None, :] > np.arange(24)[:, None]
    for head, cells in enumerate(finer.read(ROWS, COLUMNS, 1)):
        assert cells is not None
        np.testing.assert_array_equal(cells.exact, RUN.layers[0].weights[item, head, ROWS, COLUMNS].numpy())
        assert cells.codes is not None
        assert (cells.codes[:5] == grammar.NAN).all()
        np.testing.assert_array_equal(cells.codes[5:] == grammar.MASKED, above[5:])


@pytest.mark.parametrize("draw", [held_finer.of_grid, held_finer.of_detail])
@pytest.mark.parametrize("scale", SCALES)
def test_blocks_as_large_as_the_figures_are_the_figures(draw: Callable[..., Any], scale: Scale) -> None:
    spec, finer = made(draw, View(item=1, head=2, scale=scale))
    layers = [[t for t in spec["data"] if t["meta"]["layer"] == layer] for layer in ("weights", "state")]
    part = slice(2, 6), slice(0, 7)
    read = finer.read(slice(8, 24), slice(0, 28), SIDE)
    for cells, drawn, states in zip(read, *layers, strict=True):
        assert cells is not None
        np.testing.assert_array_equal(cells.shown, drawn["z"][part])
        np.testing.assert_array_equal(cells.exact, drawn.get("customdata", drawn["z"])[part])
        np.testing.assert_array_equal(cells.codes, states["z"][part])


@pytest.mark.parametrize("scale", SCALES)
def test_smaller_blocks_have_the_colours_of_the_whole(scale: Scale) -> None:
    _, finer = made(held_finer.of_grid, View(scale=scale))
    whole = grammar.scaled(RUN.layers[0].weights[0].numpy(), scale)[0]
    for head, cells in enumerate(finer.read(ROWS, COLUMNS, 2)):
        assert cells is not None
        np.testing.assert_array_equal(cells.shown, pooling.largest(whole[head, ROWS, COLUMNS], 2))


def test_the_last_blocks_are_cut_where_the_weights_end() -> None:
    _, finer = made(held_finer.of_grid, View())
    (first, *_) = finer.read(slice(36, 40), slice(33, 40), 3)
    assert first is not None
    assert first.exact.shape == (2, 3)
    assert first.exact[1, 2] == RUN.layers[0].weights[0, 0, 39, 39]


def test_each_picture_has_a_key_of_its_own() -> None:
    views = [View(), View(item=1), *(View(scale=scale) for scale in SCALES[1:])]
    keys = [made(held_finer.of_grid, view)[1].key for view in views]
    keys += [made(held_finer.of_detail, view)[1].key for view in (View(), View(head=1))]
    keys.append(made(held_finer.of_grid, View(), Scenario())[1].key)
    assert len(set(keys)) == len(keys)
    assert made(held_finer.of_grid, View(head=2, query=3, key=1))[1].key == keys[0]


def test_names_of_tokens_travel_and_mere_numbers_do_not() -> None:
    assert made(held_finer.of_grid, View())[1].sent == ((), ())
    s = Scenario(text="the cat sat", mask="full")
    run = mv.run(s)
    finer = held_finer.of_grid(s, run, View(), heads.head_grid(run))
    assert finer.sent == (run.query_tokens(), run.key_tokens())


def test_a_run_that_was_dropped_meanwhile_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(source: Scenario) -> Any:
        asked.append(source)
        return mv.run(source)

    monkeypatch.setattr(cached, "run", run)
    _, finer = made(held_finer.of_grid, View())
    assert asked == []
    (first, *_) = finer.read(ROWS, COLUMNS, 1)
    assert first is not None
    np.testing.assert_array_equal(first.exact, RUN.layers[0].weights[0, 0, ROWS, COLUMNS].numpy())
    assert asked == [S]


def test_a_run_file_that_is_gone_is_said_to_be() -> None:
    spec = heads.head_grid(RUN)
    finer = held_finer.of_grid(RunFile("0123456789abcdef mine.safetensors"), RUN, View(), spec)
    with pytest.raises(mv.InputError, match=r"The run file 'mine.safetensors' is not on this server any more"):
        finer.read(ROWS, COLUMNS, 1)
