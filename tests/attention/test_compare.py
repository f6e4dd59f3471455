"""What differs between two pictures of weights, against NumPy loops over single cells."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import mha_viz as mv
from mha_viz.attention.compare import CHANGED, Moved, Selected, compare
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.scenario import Scenario

BROKEN = Scenario(source="normal", query_len=5, mask="k < q")  # row 0 is NaN
PAIRS = {
    "masks": (Scenario(), Scenario(mask="full")),
    "seeds": (Scenario(seed=1), Scenario(seed=2)),
    "dropout": (Scenario(), Scenario(training=True, dropout=0.5)),
    "NaN on one side": (BROKEN, replace(BROKEN, mask="causal")),
    "NaN on the other": (replace(BROKEN, mask="causal"), BROKEN),
    "NaN on both": (BROKEN, replace(BROKEN, seed=4)),
    "extra columns": (Scenario(add_bias_kv=True), Scenario(add_bias_kv=True, mask="window(2)")),
    "cross": (
        Scenario(source="normal", query_len=3, key_len=7, mask="full"),
        Scenario(source="normal", query_len=3, key_len=7, mask="k > 1"),
    ),
    "padding": (Scenario(text="one two three\nfour"), Scenario(text="one two three\nfour", padding="none")),
}


def array(run: Run, head: int | None, item: int) -> np.ndarray:
    weights = run.layers[0].weights[item].numpy().astype(np.float32)
    return weights.mean(axis=0) if head is None else weights[head]


@pytest.mark.parametrize("head", [0, 3, None])
@pytest.mark.parametrize("name", PAIRS)
def test_every_number_agrees_with_loops_over_cells(name: str, head: int | None) -> None:
    runs = [mv.run(s) for s in PAIRS[name]]
    item = runs[0].layers[0].weights.shape[0] - 1
    found = compare(*(Selected(run, head=head, item=item) for run in runs))
    a, b = (array(run, head, item) for run in runs)
    length, keys = a.shape
    cells, rows, nan_rows, changed = [], [], 0, 0
    for q in range(length):
        moves = [float(b[q, k]) - float(a[q, k]) for k in range(keys)]
        for k, move in enumerate(moves):
            changed += math.isnan(a[q, k]) != math.isnan(b[q, k]) if math.isnan(move) else abs(move) > CHANGED
            np.testing.assert_allclose(float(found.change[q, k]), move, atol=1e-7, equal_nan=True)
        cells += [(abs(m), q, k) for k, m in enumerate(moves) if not math.isnan(m)]
        if any(math.isnan(m) for m in moves):
            nan_rows += 1
        else:
            rows.append(sum(abs(m) for m in moves) / 2)
    assert found.cells == length * keys
    assert found.nan_rows == nan_rows
    assert found.changed == changed
    assert found.largest == pytest.approx(max(size for size, _, _ in cells), abs=1e-7)
    assert found.variation == pytest.approx(sum(rows) / len(rows), abs=1e-6)
    sizes = sorted((size for size, _, _ in cells if size > CHANGED), reverse=True)
    moved = found.moved(7)
    np.testing.assert_allclose([abs(m.change) for m in moved], sizes[:7], atol=1e-6)
    assert all((m.left, m.right) == (a[m.query, m.key], b[m.query, m.key]) for m in moved)


@pytest.mark.parametrize("name", PAIRS)
def test_a_cell_is_hidden_where_both_masks_hide_it(name: str) -> None:
    runs = [mv.run(s) for s in PAIRS[name]]
    found = compare(*(Selected(run, head=1) for run in runs))
    layers = [run.layers[0] for run in runs]
    a, b = (array(run, 1, 0) for run in runs)
    allowed = [layer.allowed.expand_as(layer.weights)[0, 1].numpy() for layer in layers]
    assert np.array_equal(found.hidden.numpy(), ~allowed[0] & ~allowed[1] & (a == 0) & (b == 0))


def test_a_run_against_itself_differs_nowhere() -> None:
    run = mv.run(Scenario())
    found = compare(Selected(run, head=2), Selected(run, head=2))
    assert (found.largest, found.variation, found.changed, found.nan_rows) == (0.0, 0.0, 0, 0)
    assert found.moved() == ()


def layer_of(weights: torch.Tensor, mask: torch.Tensor | None = None) -> Run:
    record = LayerAttention("layer", weights, None, None, 0.0, mask, None)
    return Run((record,), None, None, "cpu", "float32", None)


def test_equal_changes_come_in_reading_order_and_no_more_than_asked_for() -> None:
    still, moved = torch.zeros(1, 1, 2, 3), torch.tensor([[[[0.0, 0.5, -0.5], [0.5, 0.25, 0.0]]]])
    found = compare(Selected(layer_of(still)), Selected(layer_of(moved)))
    assert found.moved(3) == (Moved(0, 1, 0.0, 0.5), Moved(0, 2, 0.0, -0.5), Moved(1, 0, 0.0, 0.5))
    assert [m.change for m in found.moved(100)] == [0.5, -0.5, 0.5, 0.25]
    assert len(found.moved(2)) == 2


def test_where_every_row_is_nan_there_is_nothing_to_measure_and_nothing_fails() -> None:
    nan = torch.full((1, 1, 2, 2), math.nan)
    found = compare(Selected(layer_of(nan)), Selected(layer_of(torch.eye(2)[None, None])))
    assert math.isnan(found.variation)
    assert (found.largest, found.changed, found.nan_rows, found.moved()) == (0.0, 4, 2, ())


def test_a_masked_cell_with_a_weight_is_a_difference_and_not_hidden() -> None:
    mask = torch.ones(2, 2, dtype=torch.bool).triu(1)
    sides = [layer_of(torch.tensor([[[[1.0, w], [0.5, 0.5]]]]), mask) for w in (0.0, 0.25)]
    found = compare(*(Selected(run) for run in sides))
    assert not found.hidden.any()
    assert float(found.change[0, 1]) == 0.25


def test_the_average_may_look_where_any_head_may() -> None:
    mask = torch.tensor([[[False, True], [True, True]], [[True, True], [False, True]]])  # [N·H, L, S], True hides
    run = layer_of(torch.ones(1, 2, 2, 2), mask)
    assert Selected(run, head=None).allowed.tolist() == [[True, False], [True, False]]
    assert Selected(run, head=1).allowed.tolist() == [[False, False], [True, False]]
    assert Selected(run, head=None).title == "average of 2 heads"


def test_half_precision_is_compared_in_float32() -> None:
    sides = [Selected(mv.run(Scenario(dtype=dtype))) for dtype in ("bfloat16", "float32")]
    assert compare(*sides).change.dtype == torch.float32


def test_different_shapes_are_refused_with_both() -> None:
    short = Selected(mv.run(Scenario(text="one two three")))
    with pytest.raises(InputError, match="but the left is 3 × 3 and the right is 11 × 11"):
        compare(short, Selected(mv.run(Scenario())))


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ({"layer": 1}, "layer must be from 0 to 0, not 1: this run has only one."),
        ({"head": 4}, "head must be from 0 to 3, not 4: this run has 4."),
        ({"head": -1}, "head must be from 0 to 3, not -1: this run has 4."),
        ({"item": 2}, "item must be from 0 to 0, not 2: this run has only one."),
    ],
)
def test_what_a_run_does_not_have_cannot_be_selected(at: dict[str, int], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Selected(mv.run(Scenario()), **at)
    assert str(caught.value) == said
    assert caught.value.field in at
