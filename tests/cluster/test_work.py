"""What a relay does when Ray fails, with a stand-in for Ray that fails when it is told to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mha_viz.cluster.messages import Work
from mha_viz.cluster.work import results
from mha_viz.errors import CapacityError, DeviceError


class _Exceptions:
    class RayError(Exception):
        pass

    class ObjectLostError(RayError):
        pass

    class OutOfMemoryError(RayError):
        pass

    class GetTimeoutError(RayError, TimeoutError):
        pass

    class RayTaskError(RayError):
        def __init__(self, cause: BaseException) -> None:
            super().__init__(cause)
            self.cause = cause


class StandIn:
    """Computes when asked for a result, in this process; `failures` come first, one each time."""

    exceptions = _Exceptions

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.puts: list[Any] = []
        self.made: list[Any] = []
        self.cancelled: list[Any] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def put(self, value: Any) -> Any:
        self.puts.append(value)
        return value

    def remote(self, **_: object) -> Any:
        return lambda perform: self

    def get(self, call: Any, timeout: float) -> Any:
        if len(self.made) == 2 and self.failures:
            raise self.failures.pop(0)
        perform, held, what = call
        self.made.append(what)
        return perform(*held, what)

    def cancel(self, call: Any) -> None:
        self.cancelled.append(call)

    def wait(self, calls: list[Any], **_: object) -> None:
        assert calls


class Task:
    """What `ray.remote` returns: it only notes what it is to do."""

    def __init__(self, ray: StandIn) -> None:
        self.ray = ray

    def remote(self, function: Any, held: Any, call: Any, version: str) -> Any:
        return function, held, call


@pytest.fixture(autouse=True)
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mha_viz.cluster.work._task", lambda ray, device: Task(ray))


def scaled(shared: int, arrays: list[Any], call: int) -> int:
    return shared * int(arrays[0][call])


def worked(ray: StandIn, check: Any = lambda: None) -> Iterator[Any]:
    work = Work(scaled, 10, ((((10,)), "<i8"),), tuple(range(10)), "cpu", "2.13")
    return results(ray, work, [np.arange(10)], check)


def test_what_the_cluster_lost_is_sent_again_and_what_was_done_is_not_done_again() -> None:
    ray = StandIn(_Exceptions.GetTimeoutError(), _Exceptions.ObjectLostError("gone"))
    assert list(worked(ray)) == [10 * call for call in range(10)]
    assert len(ray.puts) == 2
    assert ray.made == list(range(10))
    assert len(ray.cancelled) == 4  # two for each core were under way


def test_what_is_lost_again_and_again_ends_the_work() -> None:
    ray = StandIn(*[_Exceptions.ObjectLostError("gone\nfor good") for _ in range(3)])
    with pytest.raises(DeviceError) as error:
        list(worked(ray))
    assert str(error.value) == ("the Ray cluster failed 3 times at the same part of the work (ObjectLostError: gone).")


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        (_Exceptions.OutOfMemoryError(), CapacityError, "a node of the Ray cluster had too little memory"),
        (_Exceptions.RayTaskError(KeyError("x")), KeyError, "x"),
        (
            _Exceptions.RayTaskError(ModuleNotFoundError("No module named 'mha_viz'")),
            DeviceError,
            r"a node of the Ray cluster lacks this program \(No module named 'mha_viz'\): install mha-viz on all nodes",
        ),
    ],
)
def test_a_call_that_fails_ends_the_others_and_says_why(failure: Exception, kind: type[Exception], text: str) -> None:
    ray = StandIn(failure)
    with pytest.raises(kind, match=text):
        list(worked(ray))
    assert len(ray.puts) == 1
    assert len(ray.cancelled) == 4


def test_what_the_check_raises_cancels_what_runs_and_waits() -> None:
    ray = StandIn()

    def check() -> None:
        if len(ray.made) == 5:
            raise InterruptedError

    found = []
    with pytest.raises(InterruptedError):
        found.extend(worked(ray, check))
    assert ray.made == list(range(5))
    assert [call for *_, call in ray.cancelled] == [5, 6, 7, 8]
