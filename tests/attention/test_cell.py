"""The arithmetic of one row, against the weights that the module returned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention import cell
from mha_viz.scenario import Scenario

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


def test_a_run_without_a_scenario_has_no_arithmetic() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^The row can be recomputed only for a run of a Scenario"):
        cell.row(replace(mv.run(Scenario()), scenario=None))
