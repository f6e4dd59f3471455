"""Any part of streamed weights against the module's own, and against float64 written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import mha_viz as mv
from mha_viz.attention.streamed import StreamedAttention, streamed
from mha_viz.errors import InputError, MaskError, ScenarioError
from mha_viz.masks import PATTERNS, score_bias
from tests.attention.streamed.dense import pooled, weights

WHOLE = slice(None)
SHAPES: dict[str, dict[str, Any]] = {
    "self": {"query_len": 700},
    "cross": {"query_len": 300, "key_len": 901},
    "more queries": {"query_len": 777, "key_len": 130, "kdim": 24, "vdim": 40},
}
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"mask": pattern.example} for name, pattern in PATTERNS.items()},
    "wide window": {"mask": "causal & window(90)"},
    "documents": {"mask": "document(100, 37, 200)"},
    "by head": {"mask": "causal | (h > 1)"},
    "by item": {"mask": "window(40) | (b == 1)", "batch_size": 2},
    "nothing": {"mask": "k < 0"},
    "some rows": {"mask": "causal & (k >= 100)"},
    "padded": {"mask": "causal", "padding": "90,0", "batch_size": 2},
    "alibi": {"mask": "causal", "score_bias": "alibi"},
    "infinite bias": {"mask": "full", "score_bias": "-1 / (k // 40 % 2)"},
    "undefined bias": {"mask": "full", "score_bias": "(q - 20) / (k - k) * 0"},
    "bias_kv": {"mask": "window(3)", "add_bias_kv": True},
    "zero_attn": {"mask": "k < 0", "add_zero_attn": True},
    "both, biased": {"mask": "causal", "add_bias_kv": True, "add_zero_attn": True, "score_bias": "-abs(q - k) / 9"},
    "padded with extra": {"padding": "3,100", "batch_size": 2, "add_zero_attn": True, "mask": "full"},
    "peaked": {"mask": "causal", "qk_scale": 50.0},
    "peaked far down": {"mask": "full", "qk_scale": 50.0, "score_bias": "-900"},
    "float64": {"mask": "causal & window(50)", "dtype": "float64", "qk_scale": 50.0},
    "no bias, sequence first": {"mask": "strided(3)", "bias": False, "batch_first": False, "batch_size": 2},
}


def scenario(**values: Any) -> mv.Scenario:
    return mv.Scenario(**{"source": "normal", "embed_dim": 32, "num_heads": 2, **values})


def assert_same(found: Tensor, expected: Tensor, atol: float = 5e-6) -> None:
    torch.testing.assert_close(found, expected, atol=atol, rtol=0, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_windows_are_the_modules_weights_before_and_after_a_pass(setting: str, shape: str) -> None:
    s = scenario(**SHAPES[shape], **SETTINGS[setting])
    expected = mv.run(s).layers[0].weights
    w = streamed(s)
    assert w.shape == expected.shape
    for item in range(len(expected)):
        assert_same(w.window(1, slice(9, 80), slice(50, None), item), expected[item, 1, 9:80, 50:])
        w.prepare(item=item)
        for head in range(2):
            assert_same(w.window(head, WHOLE, WHOLE, item), expected[item, head])
            for pool in ("max", "mean"):
                found = w.overview(head, 64, pool, item).numpy()
                np.testing.assert_allclose(found, pooled(expected[item, head], 64, pool), atol=1e-6, rtol=0)


def operands(length: int, keys: int, scale: float = 1.0, heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(1, heads, n, 16, generator=draw) for n in (length, keys, keys))
    return q * scale, k, v


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("text", ["full", "causal", "window(100)"])
def test_weights_are_those_of_float64(text: str, scale: float) -> None:
    q, k, v = (x.double() for x in operands(1_100, 900, scale))
    allowed = mv.mask(text).allowed(1_100, 900)
    expected = weights(q, k, allowed)
    w = StreamedAttention(q, k, v, mask=text)
    statistics = w.stats(output=True)
    for head in range(2):
        assert_same(w.window(head, WHOLE, WHOLE), expected[0, head], 1e-12)
        assert_same(statistics.rows[head].output, expected[0, head] @ v[0, head], 1e-10)


@pytest.mark.parametrize(
    ("length", "scale", "text"), [(2_048, 3.0, "full"), (2_048, 50.0, "causal"), (4_096, 50.0, "full")]
)
def test_long_sequences_stay_within_the_tolerance(length: int, scale: float, text: str) -> None:
    s = scenario(embed_dim=64, num_heads=1, query_len=length, qk_scale=scale, mask=text)
    expected = mv.run(s).layers[0].weights[0, 0]
    w = streamed(s)
    w.prepare()
    step = 512
    for start in range(0, length, step):
        rows = slice(start, start + step)
        assert_same(w.window(0, rows, WHOLE), expected[rows])
    for pool in ("max", "mean"):
        np.testing.assert_allclose(w.overview(0, pool=pool), pooled(expected, 512, pool), atol=1e-6, rtol=0)


def test_a_window_is_a_slice_of_the_whole_wherever_it_lies() -> None:
    q, k, _ = operands(600, 700)
    w = StreamedAttention(q, k, mask="causal & window(300)")
    whole = w.window(0, WHOLE, WHOLE)
    for rows, cols in [(slice(0, 1), slice(699, 700)), (slice(-70, None), slice(5, 5)), (slice(100, 400), slice(300))]:
        assert_same(w.window(0, rows, cols), whole[rows, cols], 1e-7)
    assert_same(w.row(0, 599), whole[599], 1e-7)
    both = w.windows(None, slice(7, 20), slice(90))
    assert_same(both, torch.stack([w.window(head, slice(7, 20), slice(90)) for head in range(2)]), 0.0)


def test_one_leaking_cell_is_as_bright_in_the_overview_as_in_the_whole() -> None:
    q, k, _ = operands(5_000, 5_000, 0.1, heads=1)
    k[0, 0, 4_321] = 100 * q[0, 0, 7]
    honest, leaking = (StreamedAttention(q, k, mask=text) for text in ("causal", "causal ^ cells(7, 4321, 4321)"))
    assert not honest.overview(0, 100)[0, 86:87].any()
    shown, cell = leaking.overview(0, 100)[0, 86], leaking.window(0, slice(7, 8), slice(4_321, 4_322))[0, 0]
    assert cell > 0.9
    assert float(shown) == pytest.approx(float(cell), abs=1e-6)


@pytest.mark.parametrize("text", ["causal", "window(30)", "document(500, 300)", "block(64) & ~causal"])
def test_what_is_skipped_cannot_be_seen(text: str) -> None:
    q, k, v = operands(1_500, 1_500)
    quick = StreamedAttention(q, k, v, mask=text)
    slow = StreamedAttention(q, k, v, mask=f"({text}) & (q // (k - k + 1) == q)")  # may divide by 0: looked at
    for a, b in zip(quick.stats().rows, slow.stats().rows, strict=True):
        for name in ("entropy", "distance", "row_sum", "allowed", "column_mass", "top_weights"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-4, rtol=1e-5, equal_nan=True)
    for pool in ("max", "mean"):
        assert_same(quick.overview(1, pool=pool), slow.overview(1, pool=pool), 1e-7)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_computed_in_float32_from_its_own_projections(dtype: str) -> None:
    s = scenario(query_len=200, dtype=dtype)
    found = streamed(s).window(0, WHOLE, WHOLE)
    assert found.dtype == torch.float32
    assert_same(found, mv.run(s).layers[0].weights[0, 0].float(), 2e-2)


@pytest.mark.parametrize("size", [64, 100, 511, 512, 4_096])
@pytest.mark.parametrize(("length", "keys"), [(1, 1), (63, 65), (1_000, 999), (513, 2_100)])
def test_overviews_of_any_size_pool_the_whole(length: int, keys: int, size: int) -> None:
    q, k, _ = operands(length, keys, 3.0)
    w = StreamedAttention(q, k, mask="causal | (k % 5 == 0)")
    whole = w.window(1, WHOLE, WHOLE)
    for pool in ("max", "mean"):
        np.testing.assert_allclose(w.overview(1, size, pool), pooled(whole, size, pool), atol=1e-6, rtol=0)


def test_the_normalisers_are_log_sum_exps() -> None:
    q, k, _ = operands(300, 400, 30.0)
    allowed = mv.mask("causal & (k > 10)").allowed(300, 400)
    scores = (q.double() @ k.double().mT / 4).masked_fill(~allowed, -torch.inf)
    w = StreamedAttention(q, k, mask="causal & (k > 10)")
    for _ in range(2):
        torch.testing.assert_close(w.log_sum_exp(1).double(), scores[0, 1].logsumexp(-1), atol=1e-4, rtol=1e-6)
        w.prepare()


def test_a_bias_is_added_by_blocks() -> None:
    q, k, _ = operands(600, 600)
    bias = score_bias("alibi(2)")
    expected = weights(q, k, None, bias.values(600, 600, num_heads=2))
    assert_same(StreamedAttention(q, k, bias=bias).window(1, WHOLE, WHOLE).double(), expected[0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.overview(2), "head must be from 0 to 1, not 2."),
        (lambda w: w.overview(-1), "head must be from 0 to 1, not -1."),
        (lambda w: w.window(0, WHOLE, WHOLE, 1), "item must be from 0 to 0, not 1."),
        (lambda w: w.row(0, 20), "query must be from 0 to 19, not 20."),
        (lambda w: w.overview(0, 63), "size of an overview must be from 64 to 4,096, not 63."),
        (lambda w: w.overview(0, 64, "sum"), "pool must be 'max' or 'mean', not 'sum'."),
        (
            lambda w: w.window(0, slice(0, 9, 2), WHOLE),
            "a window takes neighbouring rows and columns, so the step must be 1, not 2.",
        ),
    ],
)
def test_what_cannot_be_given_is_refused_in_a_sentence(call: Any, message: str) -> None:
    q, k, _ = operands(20, 20)
    with pytest.raises(ScenarioError) as refused:
        call(StreamedAttention(q, k))
    assert str(refused.value) == message


def test_an_output_without_values_is_refused_in_a_sentence() -> None:
    q, k, _ = operands(20, 20)
    with pytest.raises(InputError) as refused:
        StreamedAttention(q, k).stats(output=True)
    assert str(refused.value) == "output needs the projected values, but none were given: pass value."


def test_a_mask_that_divides_by_zero_says_so_and_nothing_hangs() -> None:
    q, k, _ = operands(300, 300)
    with pytest.raises(MaskError, match="must not be 0 anywhere"):
        StreamedAttention(q, k, mask="q % k == 0").overview(0)
