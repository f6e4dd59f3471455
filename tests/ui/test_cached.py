"""Shared runs: what counts as heavy, who waits for a turn, and what is computed only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mha_viz import attention
from mha_viz.attention.records import Run
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, waiting
from mha_viz.ui.origin import RunFile

LARGE = Scenario(source="normal", query_len=2048, num_heads=8)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the run was known already, for each turn that was asked for."""
    asked: list[bool] = []

    @contextmanager
    def turn(needless: Callable[[], bool]) -> Iterator[None]:
        asked.append(needless())
        yield

    monkeypatch.setattr(waiting, "turn", turn)
    return asked


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """What has been computed since, in order."""
    done: list[Scenario] = []
    run = attention.run

    def counted(s: Scenario) -> Run:
        done.append(s)
        return run(s)

    monkeypatch.setattr(attention, "run", counted)
    return done


@pytest.mark.parametrize(
    ("source", "heavy"),
    [
        (Scenario(), False),
        (Scenario(source="normal", query_len=64, num_heads=8), False),
        (LARGE, True),
        (Scenario(stack="encoder", num_layers=24, source="normal", query_len=512), True),
        (RunFile("any"), False),
        (Reading(), False),
        (Reading(model="built-in"), True),
    ],
)
def test_what_may_take_long_is_heavy(source: Scenario | RunFile | Reading, heavy: bool) -> None:
    assert cached.is_heavy(source) is heavy


def test_the_limit_is_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_HEAVY_MB", "0")
    assert cached.is_heavy(Scenario())


def test_only_what_is_heavy_and_not_here_yet_waits_for_a_turn(
    turns: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    light = Scenario(seed=501)
    cached.run(light)
    assert turns == []
    monkeypatch.setenv("MHA_VIZ_HEAVY_MB", "0")
    kept = cached.run(Scenario(seed=502))
    assert turns == [False]
    assert cached.run(Scenario(seed=502)) is kept
    assert turns == [False]


def test_a_run_larger_than_the_budget_is_computed_once_while_a_page_holds_it(
    computed: list[Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Scenario(seed=503)
    monkeypatch.setattr(cached._of_scenario.cache, "_Cache__maxsize", 1)
    held = cached.run(s)
    assert cached.run(s) is held
    assert computed == [s]
    del held
    cached.run(s)
    assert computed == [s, s]
