"""What large arrays leave behind is kept for the next ones, and handed back when it is asked for."""

from __future__ import annotations

import ctypes
import platform
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from benchmarks.doctor import memory
from mha_viz.ui import malloc

SIZE = 2**23  # bytes of an array
ROUNDS = 8

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no glibc on this machine")


def _arrays() -> list[torch.Tensor]:
    return [torch.ones(SIZE // 4) for _ in range(6)]


def _faults() -> int:
    """Return how often a process touches fresh memory that makes some arrays again and again."""
    import resource

    malloc.keep()
    for look in range(2 * ROUNDS):
        if look == ROUNDS:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        _arrays()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _handed_back() -> tuple[int, int]:
    """Return by how many bytes a process grew after some arrays were gone, before and after it handed them back."""
    malloc.keep()
    before = memory("VmRSS")
    _arrays()
    held = memory("VmRSS") - before
    malloc.hand_back()
    return held, memory("VmRSS") - before


@pytest.fixture
def process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


@glibc
def test_the_next_array_lies_where_the_last_one_was(process: ProcessPoolExecutor) -> None:
    with process:
        assert process.submit(_faults).result() < ROUNDS * 100


@glibc
def test_what_is_free_is_handed_back(process: ProcessPoolExecutor) -> None:
    with process:
        held, after = process.submit(_handed_back).result()
    assert held > 5 * SIZE
    assert after < SIZE / 4


def test_a_c_library_without_such_functions_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        """Has neither of them."""

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Other())
    malloc.keep()
    malloc.hand_back()
