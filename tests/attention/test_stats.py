"""Head statistics and the caption line, against loops over single numbers."""

from __future__ import annotations

import math

import pytest
import torch

import mha_viz as mv
from mha_viz.attention import stats
from mha_viz.attention.records import LayerAttention
from mha_viz.scenario import Scenario

SCENARIOS = [
    Scenario(),
    Scenario(mask="full", add_bias_kv=True),
    Scenario(source="normal", query_len=4, key_len=7, mask="window(1)", num_heads=2),
    Scenario(source="normal", query_len=6, mask="k < q"),
    Scenario(text="one two three\nfour", mask="full"),
]


@pytest.mark.parametrize("s", SCENARIOS, ids=lambda s: s.to_query())
def test_head_statistics_agree_with_loops(s: Scenario) -> None:
    layer = mv.run(s).layers[0]
    for item in range(layer.weights.shape[0]):
        for found in stats.head_stats(layer, item):
            rows = layer.weights[item, found.head].tolist()
            good = [(q, row) for q, row in enumerate(rows) if not any(math.isnan(w) for w in row)]
            entropy = [-sum(w * math.log2(w) for w in row if w > 0) for _, row in good]
            own = len(rows[0]) - len(layer.extra_keys)
            distance = [sum(w * abs(q - k) for k, w in enumerate(row[:own])) for q, row in good]
            assert found.entropy == pytest.approx(sum(entropy) / len(good), abs=1e-5)
            assert found.distance == pytest.approx(sum(distance) / len(good), abs=1e-5)
            allowed = layer.allowed.expand_as(layer.weights)[item, found.head].tolist()
            free = [(q, row) for q, row in good if sum(allowed[q]) > 1] or good
            assert found.largest == max(max(row) for _, row in free)
            assert rows[found.query][found.key] == found.largest


@pytest.mark.parametrize("s", SCENARIOS, ids=lambda s: s.to_query())
def test_the_caption_agrees_with_loops(s: Scenario) -> None:
    layer = mv.run(s).layers[0]
    found = stats.summarise(layer)
    allowed = layer.allowed.expand_as(layer.weights)[0].flatten(0, 1).tolist()
    rows = layer.weights[0].flatten(0, 1).tolist()
    bad = [any(math.isnan(w) for w in row) for row in rows]
    sums = [sum(row) for row, nan in zip(rows, bad, strict=True) if not nan]
    assert found.rows == len(rows)
    assert found.nan_rows == sum(bad)
    assert found.masked == pytest.approx(1 - sum(map(sum, allowed)) / sum(map(len, allowed)))
    assert (found.row_sum_low, found.row_sum_high) == pytest.approx((min(sums), max(sums)), abs=1e-5)
    assert found.leaked == 0
    assert found.violations == 0


def leaking() -> LayerAttention:
    weights = torch.tensor([[[[0.9, 0.1], [0.5, 0.5]]]])
    hidden = torch.tensor([[False, True], [False, False]])
    return LayerAttention("x", weights, torch.zeros(1, 2, 1), None, 0.0, hidden, None)


def test_weight_on_a_masked_cell_is_a_leak() -> None:
    found = stats.summarise(leaking())
    assert found.violations == 1
    assert found.leaked == pytest.approx(0.1 / 2)
    assert found.masked == 0.25


def test_a_layer_of_nan_rows_has_statistics_too() -> None:
    weights = torch.full((1, 1, 2, 2), torch.nan)
    layer = LayerAttention("x", weights, torch.zeros(1, 2, 1), None, 0.0, None, None)
    found = stats.summarise(layer)
    assert (found.nan_rows, found.rows) == (2, 2)
    assert math.isnan(found.row_sum_low)
    assert stats.head_stats(layer)[0].entropy == 0
