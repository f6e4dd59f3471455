"""Which pieces a device computes at once, and that the weights are the same in all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mha_viz.attention.device import available
from mha_viz.attention.peak import _Ledger
from mha_viz.attention.streamed import StreamedAttention, fastest, plan, weights
from mha_viz.attention.streamed.fastest import cut_for, times
from tests.pretended import another_device

GPUS = [device for device in available() if device != "cpu"]
TINY = replace(plan.GPU[0], queries=16, keys=128)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with another_device(monkeypatch) as name:
        fastest._fastest.cache_clear()
        yield name
        fastest._fastest.cache_clear()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_on_a_cpu_fewer_rows_are_computed_at_once_where_some_of_a_block_could_be_skipped() -> None:
    key = torch.ones(4, 8)
    assert (cut_for(key), cut_for(key, whole=True)) == (plan.CPU, plan.CPU_WHOLE)
    assert plan.CPU.queries < plan.CPU_WHOLE.queries


def test_the_cut_of_a_gpu_is_the_one_that_took_the_least_time_there(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "QUERIES", 256)
    monkeypatch.setattr(fastest, "KEYS", 1_024)
    large = plan.GPU[0]
    monkeypatch.setattr(plan, "GPU", (TINY, large))  # of which one takes 128 times as many steps
    found = times(elsewhere, torch.float32, 16)
    assert 0 < found[large] < found[TINY] < math.inf
    assert cut_for(torch.ones(4, 16, device=elsewhere)) == large


def test_a_gpu_is_measured_once_for_each_width_and_format_whoever_asks(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def measured(*about: object) -> dict[plan.Cut, float]:
        asked.append(about)
        return {plan.GPU[1]: 1.0, plan.GPU[2]: 0.5}

    monkeypatch.setattr(fastest, "times", measured)
    key = torch.ones(4, 16, device=elsewhere)
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(cut_for, [key] * 8)) == {plan.GPU[2]}
    cut_for(key.double())
    cut_for(key[:, :8], whole=True)
    there = str(key.device)
    assert asked == [(there, torch.float32, 16), (there, torch.float64, 16), (there, torch.float32, 8)]


def test_a_cut_for_which_the_memory_is_too_small_is_not_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fastest._pass

    def short(operands: object, cut: plan.Cut) -> None:
        if cut == plan.GPU[-1]:
            raise torch.OutOfMemoryError
        honest(operands, cut)

    monkeypatch.setattr(fastest, "_pass", short)
    monkeypatch.setattr(fastest, "QUERIES", 64)
    found = times("cpu", torch.float32, 16)
    assert list(found) == list(plan.GPU)
    assert [time == math.inf for time in found.values()] == [False] * (len(plan.GPU) - 1) + [True]


@pytest.mark.parametrize("cut", plan.GPU, ids=str)
@pytest.mark.parametrize("mask", ["full", "causal & ~cells(5, 0, 3)", "q * k % 7 != 0"])
def test_the_weights_and_statistics_are_the_same_with_every_cut(
    cut: plan.Cut, mask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    q, k, v = (drawn(1, 2, length, 16) for length in (2_500, 9_000, 9_000))
    expected = StreamedAttention(q, k, v, mask=mask)
    there = StreamedAttention(q, k, v, mask=mask, threads=1)
    monkeypatch.setattr(weights, "cut_for", lambda *_, **__: cut)
    for ours, theirs in zip(there.stats(output=True).rows, expected.stats(output=True).rows, strict=True):
        torch.testing.assert_close(ours.entropy, theirs.entropy, atol=1e-4, rtol=1e-4, equal_nan=True)
        torch.testing.assert_close(ours.output, theirs.output, atol=1e-5, rtol=1e-4, equal_nan=True)
    for pool in ("max", "mean"):
        ours, theirs = (w.overview(1, pool=pool) for w in (there, expected))
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("cut", plan.GPU, ids=str)
@pytest.mark.parametrize("rows", [False, True])
def test_a_pass_stays_below_200_mb_with_every_cut_of_a_gpu(
    cut: plan.Cut, rows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "cut_for", lambda *_, **__: cut)
    q, k = drawn(1, 1, 2_048, 8), drawn(1, 1, 65_536, 8)
    w = StreamedAttention(q, k, mask="q * k % 7 != 0", threads=1)  # in this thread, where it is counted
    with _Ledger() as ledger:
        w.prepare(rows=rows)
    assert 2**20 < ledger.peak < 200e6


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="no GPU on this machine")
def test_a_real_gpu_is_measured_and_keeps_its_fastest() -> None:
    found = times(GPUS[0], torch.float32, 64)
    assert all(0 < time < 10 for time in found.values())
    assert cut_for(torch.ones(4, 64, device=GPUS[0])) in plan.GPU
