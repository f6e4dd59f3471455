"""Regions of streamed weights, exact and pooled, against pooling written out; what of them is hidden, against cells."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from mha_viz.attention.peak import _Ledger
from mha_viz.attention.streamed import Stopped, StreamedAttention, streamed
from mha_viz.errors import ScenarioError
from tests.attention.streamed.dense import blocks
from tests.attention.streamed.test_weights import SETTINGS, SHAPES, WHOLE, operands, scenario

# The same product in blocks of another shape may be rounded to the next float32, in scores as large as these.
STEPS = {"peaked": 2e-5, "peaked far down": 1e-4}


def close(found: Tensor, expected: NDArray[np.float64], atol: float = 1e-6) -> None:
    np.testing.assert_allclose(found.numpy(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_region_pools_its_exact_cells_before_and_after_a_pass(setting: str) -> None:
    w = streamed(scenario(**SHAPES["cross"], **SETTINGS[setting]))
    tolerance = STEPS.get(setting, 1e-6)
    n, heads, *_ = w.shape
    for item, passed in ((i, p) for p in (False, True) for i in range(n)):
        if passed:
            w.prepare(item=item)
        whole = w.windows(None, WHOLE, WHOLE, item).double()
        for side, rows, cols in ((2, slice(10, 141), slice(60, None)), (13, WHOLE, WHOLE), (700, WHOLE, slice(0, 99))):
            for pool in ("max", "mean"):
                found = w.region(None, rows, cols, side=side, pool=pool, item=item)
                for head in range(heads):
                    close(found[head], blocks(whole[head, rows, cols], (side, side), pool), tolerance)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_whole_region_is_the_overview(setting: str) -> None:
    w = streamed(scenario(query_len=700, **SETTINGS[setting]))
    side = math.ceil(w.shape[3] / 64)
    assert side == math.ceil(w.shape[2] / 64)
    for pool in ("max", "mean"):
        found = w.region(None, WHOLE, WHOLE, side=side, pool=pool)
        for head in range(2):
            close(found[head], w.overview(head, 64, pool).double().numpy())


@pytest.mark.parametrize("side", [2, 3, 64, 129, 600, 1_500, 16_384])
@pytest.mark.parametrize(
    ("rows", "cols"), [((0, 3_000), (0, 2_100)), ((1_800, 2_999), (0, 7)), ((0, 1), (1_800, 1_801))]
)
def test_blocks_of_any_size_pool_any_rectangle(side: int, rows: tuple[int, int], cols: tuple[int, int]) -> None:
    q, k, _ = operands(3_000, 2_100, 2.0)
    w = StreamedAttention(q, k, mask="(causal | (k % 5 == 0)) & (q % 97 > 3)")
    (top, bottom), (left, right) = ((start // side * side, stop) for start, stop in (rows, cols))
    whole = w.window(1, slice(top, bottom), slice(left, right))
    for pool in ("max", "mean"):
        found = w.region([1], slice(top, bottom), slice(left, right), side=side, pool=pool)
        close(found[0], blocks(whole, (side, side), pool))


def test_an_empty_region_has_no_cells() -> None:
    q, k, _ = operands(20, 30)
    w = StreamedAttention(q, k)
    for side in (1, 4):
        assert w.region(None, slice(8, 8), WHOLE, side=side).shape == (2, 0, math.ceil(30 / side))
        assert w.region([0], WHOLE, slice(8, 4), side=side).shape == (1, math.ceil(20 / side), 0)
        assert w.region([], WHOLE, WHOLE, side=side).shape == (0, math.ceil(20 / side), math.ceil(30 / side))
        masked, padded = w.hidden(WHOLE, slice(8, 4), side=side)
        assert masked.shape == padded.shape == (math.ceil(20 / side), 0)


@pytest.mark.parametrize("side", [1, 8])
def test_rows_that_see_no_key_are_nan_cell_by_cell_and_left_out_of_blocks(side: int) -> None:
    q, k, _ = operands(64, 64)
    w = StreamedAttention(q, k, mask="causal & (k >= 4) & (q < 60)")
    for _ in range(2):
        found = w.region([0], WHOLE, WHOLE, side=side)[0]
        blind = [*range(4), *range(60, 64)] if side == 1 else []
        assert found.isnan().all(1).nonzero()[:, 0].tolist() == blind
        assert found.isnan().any(1).nonzero()[:, 0].tolist() == blind
        w.prepare()
    nothing = StreamedAttention(q, k, mask="k < 0")
    for pool in ("max", "mean"):
        assert bool(nothing.region([0], WHOLE, WHOLE, side=side, pool=pool).isnan().all())


@pytest.mark.parametrize("side", [1, 32])
@pytest.mark.parametrize("passed", [False, True])
def test_a_region_stops_between_tiles(side: int, passed: bool) -> None:
    q, k, _ = operands(4_500, 4_500)
    w = StreamedAttention(q, k, threads=1)
    if passed:
        w.prepare()
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked == 4

    with pytest.raises(Stopped):
        w.region(None, WHOLE, slice(0, 4_480), side=side, stop=stop)
    assert asked == 4
    with pytest.raises(Stopped):
        StreamedAttention(q, k, threads=2).region(None, WHOLE, WHOLE, side=side, stop=lambda: True)


def test_a_region_is_computed_while_a_pass_goes_on_and_waiting_for_a_pass_can_be_stopped() -> None:
    q, k, _ = operands(300, 300)
    w = StreamedAttention(q, k, threads=1)
    begun, go_on = threading.Event(), threading.Event()

    def wait(share: float) -> None:
        begun.set()
        assert go_on.wait(20)

    passing = threading.Thread(target=lambda: w.prepare([0], progress=wait))
    passing.start()
    try:
        assert begun.wait(20)
        assert w.region([0], slice(4), slice(4)).shape == (1, 4, 4)
        with pytest.raises(Stopped):
            w.overview(0, stop=lambda: True)
    finally:
        go_on.set()
        passing.join()
    assert w.overview(0).shape == (300, 300)


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_a_region_takes_little_memory(pool: Any) -> None:
    q, k, _ = operands(12_000, 12_000, heads=1)
    w = StreamedAttention(q, k, mask="q * k % 7 != 0", threads=1)  # in this thread, where it is counted
    with _Ledger() as ledger:
        w.region(None, slice(0, 4_800), WHOLE, side=24, pool=pool)
    assert 2**20 < ledger.peak < 40e6 < 4_800 * 12_000
    with _Ledger() as ledger:
        w.region(None, slice(0, 64), WHOLE, side=2, pool=pool)
    assert 2**20 < ledger.peak < 40e6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: w.region([2], WHOLE, WHOLE), "head must be from 0 to 1, not 2."),
        (lambda w: w.region(None, WHOLE, WHOLE, pool="sum"), "pool must be 'max' or 'mean', not 'sum'."),
        (lambda w: w.region(None, WHOLE, WHOLE, side=0), "side of a region's blocks must be from 1 to 16,384, not 0."),
        (
            lambda w: w.hidden(WHOLE, WHOLE, side=20_000),
            "side of a region's blocks must be from 1 to 16,384, not 20000.",
        ),
        (
            lambda w: w.region(None, slice(3, 9), WHOLE, side=2),
            "rows must start at a multiple of the side, 2, not at 3.",
        ),
        (lambda w: w.hidden(WHOLE, slice(5, 9), side=4), "cols must start at a multiple of the side, 4, not at 5."),
        (
            lambda w: w.region(None, WHOLE, slice(0, 9, 3)),
            "a window takes neighbouring rows and columns, so the step must be 1, not 3.",
        ),
        (lambda w: w.hidden(WHOLE, WHOLE, item=1), "item must be from 0 to 0, not 1."),
    ],
)
def test_what_is_no_region_is_refused_in_a_sentence(call: Any, message: str) -> None:
    q, k, _ = operands(20, 20)
    with pytest.raises(ScenarioError) as refused:
        call(StreamedAttention(q, k))
    assert str(refused.value) == message
