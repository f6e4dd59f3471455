"""As given, as intended, the difference: the cells of each, counted one by one, and what hover is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mha_viz as mv
from mha_viz.attention.forward import run_given
from mha_viz.figures import grammar, masks, states
from mha_viz.masks import encode
from mha_viz.scenario import Scenario

S = Scenario(source="normal", query_len=6, mask="causal & window(2)")
WANTED = mv.mask(S.mask).allowed(6)


def panels(spec: grammar.Spec) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return values, states and hover weights of each panel by its title."""
    titles = [panel["title"] for panel in spec["layout"]["meta"]["panels"]]
    weights = [t for t in spec["data"] if t["meta"]["layer"] == "weights"]
    codes = [t["z"] for t in spec["data"] if t["meta"]["layer"] == "state"]
    return {title: (w["z"], c, w.get("customdata")) for title, w, c in zip(titles, weights, codes, strict=True)}


@pytest.mark.parametrize("seed", range(8))
def test_every_cell_of_the_difference_is_what_the_two_masks_say(seed: int) -> None:
    given = torch.rand(6, 6, generator=torch.Generator().manual_seed(seed)) < 0.5
    given |= torch.eye(6, dtype=torch.bool)
    run, intended = run_given(S, encode.as_given(given)), mv.run(S)
    kinds, codes, _ = panels(masks.comparison(run, intended))[masks.DIFFERENCE]
    leaks = lost = 0
    for q in range(6):
        for k in range(6):
            may, should = bool(given[q, k]), bool(WANTED[q, k])
            leaks, lost = leaks + (may and not should), lost + (should and not may)
            expected = masks.SAME if may == should else masks.LEAK if may else masks.LOST
            assert kinds[q, k] == expected
            hidden = grammar.PLAIN if may or should else grammar.MASKED
            assert codes[q, k] == (grammar.VIOLATION if expected == masks.LEAK else hidden)
    assert masks.difference(run, intended) == masks.Difference(36, leaks, lost)


def test_the_panels_stand_in_order_and_hover_tells_each_ones_own_weights() -> None:
    before, run = run_given(S, WANTED), run_given(S, torch.ones(6, 6).triu(1))
    intended = mv.run(S)
    found = panels(masks.comparison(run, intended, before=before, head=2))
    assert list(found) == [masks.BEFORE, masks.GIVEN, masks.INTENDED, masks.DIFFERENCE]
    for (_, _, weights), of in zip(found.values(), (before, run, intended, run), strict=True):
        np.testing.assert_array_equal(weights, of.layers[0].weights[0, 2].numpy())
    assert list(panels(masks.comparison(run, intended))) == [masks.GIVEN, masks.INTENDED, masks.DIFFERENCE]


def test_a_mask_that_is_right_differs_nowhere() -> None:
    found = masks.comparison(mv.run(S), mv.run(S))
    assert masks.difference(mv.run(S), mv.run(S)) == masks.Difference(36, 0, 0)
    assert not panels(found)[masks.DIFFERENCE][0].any()


def test_a_float_mask_of_ones_hides_nothing_and_its_leaks_are_shown() -> None:
    run = run_given(S, torch.ones(6, 6).triu(1))
    assert masks.opened(run.layers[0], 0, 0).all()
    assert masks.difference(run, mv.run(S)).leaks == int((~WANTED).sum())


def test_a_penalty_counts_as_hidden_where_it_presses_the_weight_to_zero_and_as_open_where_not() -> None:
    hidden = torch.zeros(6, 6).masked_fill(~WANTED, -1e9)
    assert masks.difference(run_given(S, hidden), mv.run(S)) == masks.Difference(36, 0, 0)
    _, codes, _ = panels(masks.comparison(run_given(S, hidden), mv.run(S)))[masks.GIVEN]
    np.testing.assert_array_equal(codes == grammar.MASKED, ~WANTED.numpy())
    uniform = hidden.clone()
    uniform[3] = -1e9
    found = masks.difference(run_given(S, uniform), mv.run(S))
    assert (found.leaks, found.lost) == (int((~WANTED[3]).sum()), 0)


def test_with_dropout_the_masks_alone_say_what_is_open() -> None:
    s = Scenario(source="normal", query_len=6, dropout=0.5, training=True, mask="full")
    run = mv.run(s)
    assert run.layers[0].weights.eq(0).any()
    assert masks.opened(run.layers[0], 0, 0).all()


def test_the_right_one_of_two_masks_is_named_for_each_hidden_cell() -> None:
    s = Scenario(text="one two three\nfour", mask="causal")
    found = panels(masks.comparison(mv.run(s), mv.run(s), item=1))
    M, P, B = grammar.MASKED, grammar.PADDED, grammar.BOTH
    np.testing.assert_array_equal(found[masks.GIVEN][1], [[0, B, B], [0, P, B], [0, P, P]])
    assert M == 1


def test_a_judged_run_keeps_its_weights_and_shows_violations_of_the_intent() -> None:
    run, intended = run_given(S, torch.ones(6, 6).triu(1)), mv.run(S)
    judged = masks.judged(run, intended)
    assert judged.layers[0].weights is run.layers[0].weights
    for codes in states.of_heads(judged.layers[0], 0):
        assert codes is not None
        np.testing.assert_array_equal(codes == grammar.VIOLATION, ~WANTED.numpy())


def test_rows_without_a_key_are_nan_in_the_judged_run() -> None:
    judged = masks.judged(run_given(S, torch.ones(6, 6, dtype=torch.bool).tril()), mv.run(S))
    codes = states.of_head(judged.layers[0], 0, 0)
    assert codes is not None
    assert (codes[5] == grammar.NAN).all()
    assert (codes[:5] != grammar.NAN).all()


@pytest.mark.parametrize(("refused", "title"), [(True, masks.REFUSED), (False, masks.WRITTEN)])
def test_a_mask_without_weights_of_its_shape_is_shown_as_it_was_meant_beside_the_intent(
    refused: bool, title: str
) -> None:
    meant = np.tri(6, dtype=bool)
    found = panels(masks.written(meant, mv.run(S), refused=refused))
    assert list(found) == [title, masks.INTENDED]
    np.testing.assert_array_equal(found[title][1] == grammar.MASKED, ~meant)
    np.testing.assert_array_equal(found[masks.INTENDED][1] == grammar.MASKED, ~WANTED.numpy())
