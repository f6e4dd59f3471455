"""Bounded caches: shared results, one computation at a time, and a limit in bytes."""

from __future__ import annotations

import threading
import time

import pytest

from mha_viz.remember import remembered


def test_a_result_is_kept_by_its_key_and_forgotten_when_the_bytes_are_spent() -> None:
    calls: list[int] = []

    @remembered(100 / 2**20, key=lambda n: n % 10, size=len)
    def made(n: int) -> bytes:
        calls.append(n)
        return bytes(40)

    assert made(1) is made(11)
    made(2)
    made(3)  # the third result of 40 bytes pushes out the first
    made(1)
    assert calls == [1, 2, 3, 1]


def test_a_result_larger_than_the_bound_is_returned_and_not_kept() -> None:
    calls: list[int] = []

    @remembered(10 / 2**20, key=lambda n: n, size=len)
    def made(n: int) -> bytes:
        calls.append(n)
        return bytes(40)

    assert len(made(1)) == len(made(1)) == 40
    assert calls == [1, 1]


def test_threads_that_ask_at_once_wait_for_one_computation() -> None:
    calls: list[int] = []

    @remembered(1, key=lambda n: n, size=len)
    def made(n: int) -> bytes:
        calls.append(n)
        time.sleep(0.05)
        return bytes(8)

    threads = [threading.Thread(target=made, args=(1,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [1]


def test_an_error_is_not_kept() -> None:
    calls: list[int] = []

    @remembered(1, key=lambda n: n, size=len)
    def made(n: int) -> bytes:
        calls.append(n)
        if len(calls) == 1:
            raise ValueError("once")
        return bytes(8)

    with pytest.raises(ValueError, match="once"):
        made(1)
    assert len(made(1)) == 8
