"""Running out of memory: one sentence, whichever way torch or Python says it, and the next run works."""

from __future__ import annotations

import weakref
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from mha_viz import attention
from mha_viz.attention.runs import Run
from mha_viz.errors import CapacityError
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, exhausted

ENDING = (
    "ran out of memory during this computation, which was dropped: reduce query_len, num_heads or batch_size, or try "
    "again when fewer people are here."
)
ON_CPU = (
    "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "9 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    ("error", "who"),
    [
        (MemoryError(), "server"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), "server"),
        (RuntimeError(ON_CPU), "server"),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), "server"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "device"),
    ],
    ids=["python", "windows", "linux", "mps", "cuda"],
)
def test_every_way_to_run_out_of_memory_is_one_sentence(error: Exception, who: str) -> None:
    with pytest.raises(CapacityError) as caught, exhausted.memory():
        raise error
    assert str(caught.value) == f"The {who} {ENDING}"
    assert caught.value.field == "query_len"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_torchs_own_words_on_this_machine_are_understood() -> None:
    with pytest.raises(CapacityError), exhausted.memory():
        torch.empty(2**60, dtype=torch.uint8)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), exhausted.memory():
        raise RuntimeError("shapes")
    with pytest.raises(KeyError), exhausted.memory():
        raise KeyError("memory")


def test_what_the_computation_held_is_let_go() -> None:
    held: list[weakref.ref[torch.Tensor]] = []

    def compute() -> None:
        tensor = torch.ones(3)
        held.append(weakref.ref(tensor))
        raise MemoryError

    with pytest.raises(CapacityError), exhausted.memory():
        compute()
    assert held[0]() is None


def test_a_page_says_so_and_the_next_run_works(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = attention.run
    monkeypatch.setattr(attention, "run", _without_memory)
    app = AppTest.from_file(str(repository / "pages" / "explore.py"), default_timeout=60)
    app.query_params["seed"] = "918273"
    app.run()
    assert [box.value for box in app.error] == [f"The server {ENDING}"]
    assert not app.exception
    monkeypatch.setattr(attention, "run", run)
    app.run()
    assert not app.error
    assert not app.exception


def _without_memory(s: Scenario) -> Run:
    raise RuntimeError(ON_CPU)


def test_a_failed_run_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    s = Scenario(seed=192837)
    with monkeypatch.context() as patched:
        patched.setattr(attention, "run", _without_memory)
        with pytest.raises(CapacityError):
            cached.run(s)
    assert torch.equal(cached.run(s).layers[0].weights, attention.run(s).layers[0].weights)
