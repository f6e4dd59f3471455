"""Statistics of streamed rows against those of whole weights."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import mha_viz as mv
from mha_viz.attention.stats import head_stats, summarise
from mha_viz.attention.streamed import streamed

SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"mask": "full"},
    "causal": {"mask": "causal"},
    "window": {"mask": "window(20)"},
    "random": {"mask": "random(0.02, 1)"},
    "by head": {"mask": "causal | (h > 1)"},
    "empty rows": {"mask": "causal & (k >= 100)"},
    "nothing": {"mask": "k < 0"},
    "cross": {"mask": "causal_bottom_right", "key_len": 800},
    "padded": {"mask": "causal", "padding": "90,0", "batch_size": 2},
    "extra keys": {"mask": "causal", "add_bias_kv": True, "add_zero_attn": True},
    "extra keys alone": {"mask": "k < 0", "add_bias_kv": True, "add_zero_attn": True},
    "biased": {"mask": "full", "score_bias": "alibi"},
    "peaked": {"mask": "causal", "qk_scale": 100.0},
    "peaked far down": {"mask": "full", "qk_scale": 50.0, "score_bias": "-900"},
    "float64": {"mask": "full", "dtype": "float64"},
}


def scenario(**values: Any) -> mv.Scenario:
    return mv.Scenario(**{"source": "normal", "embed_dim": 32, "num_heads": 2, "query_len": 600, **values})


def close(found: Tensor, expected: Tensor, atol: float) -> None:
    torch.testing.assert_close(found.double(), expected.double(), atol=atol, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_rows_statistics_are_those_of_its_weights(setting: str) -> None:
    s = scenario(**SETTINGS[setting])
    layer = mv.run(s).layers[0]
    w = streamed(s)
    for item, weights in enumerate(layer.weights):
        found = w.stats(item, output=True)
        for own, rows in zip(weights, found.rows, strict=True):
            bad = own[:, 0].isnan()
            keys = own.shape[1] - len(layer.extra_keys)
            away = (
                (torch.arange(600)[:, None] - torch.arange(own.shape[1]))
                .abs()
                .where(torch.arange(own.shape[1]) < keys, 0)
            )
            close(rows.entropy, torch.special.entr(own.double()).sum(1) / math.log(2), 2e-5)
            close(rows.distance, (own.double() * away).sum(1), 2e-3)
            close(rows.row_sum, own.sum(1), 2e-6)
            close(rows.column_mass, own[~bad].double().sum(0), 1e-4)
            close(rows.top_weights, own.topk(4).values.masked_fill(bad[:, None], torch.nan), 2e-6)
            listed = rows.top_keys >= 0
            assert torch.equal(listed, (rows.top_weights > 0))
            at = own.gather(1, rows.top_keys.clamp(min=0).long())
            close(at[listed], rows.top_weights[listed], 2e-6)
        value = w._operands.value
        close(torch.stack([rows.output for rows in found.rows]), weights @ value[item], 1e-4)


@pytest.mark.parametrize("setting", SETTINGS)
def test_heads_and_the_caption_are_described_as_short_sequences_are(setting: str) -> None:
    s = scenario(**SETTINGS[setting])
    layer = mv.run(s).layers[0]
    w = streamed(s)
    for item in range(len(layer.weights)):
        found = w.stats(item)
        for one, other in zip(found.heads, head_stats(layer, item), strict=True):
            assert one.entropy == pytest.approx(other.entropy, abs=1e-4)
            assert one.distance == pytest.approx(other.distance, rel=1e-4, abs=1e-3)
            assert one.largest == pytest.approx(other.largest, abs=1e-5)
            if 0 < one.largest < 1:  # which of several that round to 1 comes first is chance
                assert (one.query, one.key) == (other.query, other.key)
        summary, expected = found.summary, summarise(layer, item)
        assert vars(summary) == pytest.approx(vars(expected), abs=2e-6, nan_ok=True)


def test_statistics_of_some_heads_are_those_heads() -> None:
    w = streamed(scenario(mask="causal"))
    assert [head.head for head in w.stats(heads=[1]).heads] == [1]
    assert w.stats(heads=[1]).heads[0] == w.stats().heads[1]


def test_normalisers_come_with_the_statistics() -> None:
    w = streamed(scenario(mask="causal"))
    found = w.stats()
    for head in range(2):
        torch.testing.assert_close(found.log_sum_exp[head], w.log_sum_exp(head))
