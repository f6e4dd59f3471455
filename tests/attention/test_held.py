"""Held weights answer what streamed ones do, with the same words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mha_viz as mv
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.stats import AttentionStats
from mha_viz.attention.streamed import streamed
from tests.attention.streamed import dense

SETTINGS: dict[str, dict[str, Any]] = {
    "full": {"mask": "full"},
    "causal": {"mask": "causal"},
    "by head": {"mask": "causal | (h > 0)"},
    "empty rows": {"mask": "causal & (k >= 100)"},
    "nothing": {"mask": "k < 0"},
    "cross": {"mask": "full", "key_len": 300},
    "padded": {"mask": "causal", "padding": "90,0", "batch_size": 2},
    "extra keys": {"mask": "causal", "add_bias_kv": True, "add_zero_attn": True},
    "few keys": {"mask": "full", "key_len": 2},
    "float64": {"mask": "full", "dtype": "float64"},
    "bfloat16": {"mask": "full", "dtype": "bfloat16"},
}


def scenario(**values: Any) -> mv.Scenario:
    return mv.Scenario(**{"source": "normal", "embed_dim": 32, "num_heads": 2, "query_len": 201, **values})


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_an_overview_is_the_pooling_of_the_whole(setting: str, pool: Any) -> None:
    layer = mv.run(scenario(**SETTINGS[setting])).layers[0]
    for item, weights in enumerate(layer.weights):
        for head, whole in enumerate(weights):
            found = layer.overview(head, 64, pool, item)
            expected = torch.from_numpy(dense.pooled(whole, 64, pool))
            torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=8e-3, equal_nan=True)


@pytest.mark.parametrize("setting", SETTINGS)
def test_windows_and_rows_are_slices_of_the_weights(setting: str) -> None:
    layer = mv.run(scenario(**SETTINGS[setting])).layers[0]
    item, head = layer.shape[0] - 1, layer.shape[1] - 1
    whole = layer.weights[item, head]
    equal = torch.testing.assert_close
    equal(layer.window(head, slice(3, 40), slice(-7, None), item), whole[3:40, -7:], atol=0, rtol=0, equal_nan=True)
    equal(layer.row(head, 200, item), whole[200], atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("setting", [name for name in SETTINGS if name != "bfloat16"])
def test_statistics_are_those_of_a_streamed_layer(setting: str) -> None:
    s = scenario(**SETTINGS[setting])
    layer, other = mv.run(s).layers[0], streamed(s)
    for item in range(layer.shape[0]):
        found, expected = layer.stats(item), other.stats(item)
        assert isinstance(found, AttentionStats)
        assert found.summary.nan_rows == expected.summary.nan_rows
        assert [head.head for head in found.heads] == [head.head for head in expected.heads]
        for own, rows in zip(found.rows, expected.rows, strict=True):
            bad = rows.row_sum.isnan()
            assert torch.equal(own.allowed, rows.allowed)
            assert torch.equal(own.top_keys[~bad] >= 0, rows.top_keys[~bad] >= 0)
            for name, atol in (("entropy", 2e-5), ("distance", 2e-3), ("row_sum", 2e-6), ("top_weights", 2e-6)):
                mine, theirs = (getattr(part, name).double() for part in (own, rows))
                torch.testing.assert_close(mine, theirs, atol=atol, rtol=1e-5, equal_nan=True)
            torch.testing.assert_close(own.column_mass.double(), rows.column_mass.double(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda w: w.window(2, slice(0, 1), slice(0, 1)), "head must be from 0 to 1, not 2."),
        (lambda w: w.overview(-1), "head must be from 0 to 1, not -1."),
        (lambda w: w.overview(0, item=1), "item must be from 0 to 0, not 1."),
        (lambda w: w.stats(1), "item must be from 0 to 0, not 1."),
        (lambda w: w.row(0, 201), "query must be from 0 to 200, not 201."),
        (lambda w: w.overview(0, 63), "size of an overview must be from 64 to 4,096, not 63."),
        (lambda w: w.overview(0, pool="median"), "pool must be 'max' or 'mean', not 'median'."),
        (
            lambda w: w.window(0, slice(0, 9, 2), slice(0, 1)),
            "a window takes neighbouring rows and columns, so the step must be 1, not 2.",
        ),
    ],
)
@pytest.mark.parametrize("held", [True, False], ids=["held", "streamed"])
def test_what_is_not_there_is_refused_in_one_sentence(
    ask: Any, said: str, held: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not held:
        monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "0.5")
    layer = mv.run(scenario()).layers[0]
    assert (layer.streamed is None) == held
    with pytest.raises(mv.ScenarioError) as caught:
        ask(layer)
    assert str(caught.value) == said


def test_a_mean_in_half_precision_counts_beyond_its_largest_number() -> None:
    weights = torch.full((1, 1, 2_048, 2**17), 2.0**-17, dtype=torch.float16)
    found = LayerAttention("layer", weights, None, weights, 0.0, None, None).overview(0, 64, pool="mean")
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), torch.full((64, 64), 2.0**-17), atol=0, rtol=1e-2)  # of 65,536 cells each
