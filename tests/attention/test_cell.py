"""The arithmetic of one row, against the weights that the module returned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention import cell
from mha_viz.attention.trace import trace
from mha_viz.scenario import Scenario
from tests.attention.test_trace import captured

SMALL = [e for e in gallery.EXAMPLES if not e.scenario.training]


@pytest.mark.parametrize("example", SMALL, ids=lambda e: e.name)
def test_the_row_of_every_example_is_what_the_module_returned(example: gallery.Example) -> None:
    run = mv.run(example.scenario)
    n, h, length, _ = run.layers[0].weights.shape
    row = cell.row(run, item=n - 1, head=h - 1, query=length // 2)
    expected = run.layers[0].weights[n - 1, h - 1, length // 2].double()
    torch.testing.assert_close(row.weights, expected, atol=1e-5, rtol=0, equal_nan=True)
    torch.testing.assert_close(row.returned, expected, atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize(
    "s",
    [
        Scenario(source="normal", query_len=4, key_len=6, kdim=8, vdim=12, batch_size=2, padding=[6, 3], bias=False),
        Scenario(source="normal", query_len=5, mask="(h == 1) | causal", score_bias="alibi", batch_size=2),
        Scenario(source="normal", query_len=5, mask="k < q"),
        Scenario(source="normal", query_len=5, add_bias_kv=True, add_zero_attn=True, batch_first=False, batch_size=2),
        Scenario(source="normal", query_len=5, unbatched=True, padding=[3], mask_encoding="float"),
    ],
    ids=lambda s: s.to_query(),
)
def test_every_row_agrees_under_all_kinds_of_masks(s: Scenario) -> None:
    run = mv.run(s)
    n, h, length, _ = run.layers[0].weights.shape
    for item, head, query in ((i, j, q) for i in range(n) for j in range(h) for q in range(length)):
        row = cell.row(run, item=item, head=head, query=query)
        torch.testing.assert_close(row.weights, row.returned, atol=1e-5, rtol=0, equal_nan=True)
        torch.testing.assert_close(row.scores, row.dots * row.scale + row.added)
        torch.testing.assert_close(row.exponentials.sum().item(), row.denominator, equal_nan=True)


def test_dropout_shows_in_the_returned_weights_alone() -> None:
    s = Scenario(source="normal", query_len=8, mask="full", dropout=0.5)
    row = cell.row(mv.run(replace(s, training=True)), query=3)
    plain = mv.run(s).layers[0].weights[0, 0, 3].double()
    torch.testing.assert_close(row.weights, plain, atol=1e-5, rtol=0)
    assert (row.returned == 0).any()


@pytest.mark.parametrize(("name", "end"), [("item", 1), ("head", 4), ("query", 11)])
def test_an_index_out_of_bounds_is_refused(name: str, end: int) -> None:
    run = mv.run(Scenario())
    for index in (-1, end):
        with pytest.raises(mv.ScenarioError, match=f"^{name} must be from 0 to {end - 1}, not {index}\\.$"):
            cell.row(run, **{name: index})


def test_a_run_that_kept_nothing_has_no_arithmetic() -> None:
    with pytest.raises(
        mv.ScenarioError, match=r"^layer 0 can't be traced: what went into it was not kept, capture it with inside=True"
    ):
        cell.row(replace(mv.run(Scenario()), scenario=None))


def test_a_layer_out_of_bounds_is_refused() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^layer must be from 0 to 0, not 2\.$"):
        cell.row(mv.run(Scenario()), layer=2)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_captured_layers_row_is_what_the_module_returned(dropout: float) -> None:
    run = captured(dropout=dropout)
    row = cell.row(run, item=1, head=2, query=3)
    torch.testing.assert_close(row.returned, run.layers[0].weights[1, 2, 3].double(), atol=0, rtol=0)
    kept = row.returned > 0
    torch.testing.assert_close(row.weights[kept] / (1 - dropout), row.returned[kept], atol=1e-6, rtol=0)
    assert row.weights[4] == 0
    assert row.dropped == (dropout > 0)


@pytest.mark.parametrize(
    "s",
    [
        Scenario(source="normal", query_len=4, key_len=6, kdim=8, vdim=12, batch_size=2, padding=[6, 3], bias=False),
        Scenario(source="normal", query_len=5, mask="(h == 1) | causal", score_bias="alibi", batch_size=2),
        Scenario(source="normal", query_len=5, mask="k < q", add_bias_kv=True, add_zero_attn=True),
        Scenario(source="normal", query_len=5, mask="causal", dropout=0.5, training=True),
    ],
    ids=lambda s: s.to_query(),
)
def test_the_arithmetic_of_a_traced_cell_leads_to_its_numbers_in_every_stage(s: Scenario) -> None:
    found = trace(s)
    n, h, length, keys = found["weights"].shape
    for place in ((i, j, q, k) for i in range(n) for j in range(h) for q in range(length) for k in range(keys)):
        made = found.arithmetic(*place)
        expected = {name: float(found[name][place]) for name in ("scores", "masked", "softmax", "weights")}
        got = {"scores": made.dot, "masked": made.score, "softmax": made.softmax, "weights": made.weight}
        assert got == pytest.approx(expected, abs=1e-5, rel=1e-5, nan_ok=True)
        assert made.dot * made.scale + made.added == pytest.approx(made.score)
        assert made.exponential / made.denominator == pytest.approx(made.softmax, nan_ok=True)
        assert torch.equal(made.v, found["v_heads"][place[0], place[1], place[3]].double())


def test_a_rows_cells_are_those_of_the_trace_and_follow_its_edits() -> None:
    s = Scenario(query_len=5)
    row, made = cell.row(mv.run(s), head=1, query=3), trace(s).arithmetic(0, 1, 3, 2)
    assert made.dot == pytest.approx(float(row.dots[2]), rel=1e-5)
    assert made.softmax == pytest.approx(float(row.weights[2]), abs=1e-6)
    assert made.factor is None
    warm = trace(s, edits="temperature = 2").arithmetic(0, 1, 3, 2)
    assert warm.scale == pytest.approx(made.scale / 2)
    assert warm.temperature == 2


@pytest.mark.parametrize("place", [(1, 0, 0, 0), (0, 4, 0, 0), (0, 0, 11, 0), (0, 0, 0, 11), (0, 0, 0, -1)])
def test_arithmetic_of_a_cell_that_is_not_there_is_refused(place: tuple[int, int, int, int]) -> None:
    with pytest.raises(mv.ScenarioError, match=r"^(item|head|query|key) must be from 0 to \d+, not -?\d+\.$"):
        trace(Scenario()).arithmetic(*place)
