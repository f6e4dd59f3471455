"""Shared runs: what counts as heavy, who waits for a turn, and what is computed only once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mha_viz import attention
from mha_viz.attention.runs import Run
from mha_viz.errors import CapacityError
from mha_viz.given import Given
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, mask_results, sizes, waiting
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


@pytest.mark.parametrize(("source", "waits"), [(None, True), (LARGE, True), (Scenario(), False)])
def test_what_is_worked_out_of_something_heavy_waits_for_a_turn(
    source: Scenario | None, waits: bool, turns: list[bool]
) -> None:
    with cached.turn(source):
        pass
    assert len(turns) == waits


def test_what_a_page_proves_about_a_mask_waits_for_a_turn_once(turns: list[bool]) -> None:
    s = Scenario(seed=504)
    mask_results.reach(s, Given())
    assert len(turns) == 1
    mask_results.reach(s, Given())
    assert len(turns) == 1


@pytest.mark.parametrize(
    ("more", "streamed"),
    [
        ({"query_len": 64}, False),
        ({"query_len": 4_096}, True),
        ({"query_len": 131_072}, True),
        ({"query_len": 4_096, "training": True, "dropout": 0.1}, False),
        ({"query_len": 4_096, "stack": "encoder"}, False),
    ],
)
def test_a_long_sequence_is_streamed_where_it_can_be(more: dict[str, object], streamed: bool) -> None:
    assert cached.is_long(Scenario(**{"source": "normal", "num_heads": 8, **more})) is streamed
    assert not cached.is_long(RunFile("any"))


def test_what_is_shown_of_a_long_sequence_is_shared_and_holds_no_weights() -> None:
    s = Scenario(source="normal", num_heads=2, query_len=16_384, seed=505)
    run = cached.shown(s)
    assert cached.shown(s) is run
    assert run.layers[0].streamed is not None
    assert sizes.run_bytes(run) < 60e6


def test_whoever_needs_all_weights_of_a_long_sequence_is_told_what_to_do() -> None:
    with pytest.raises(
        CapacityError, match=r"^The layer and its weights \[1, 8, 65,536, 65,536\] in float32 .* reduce query_len"
    ):
        cached.run(Scenario(source="normal", num_heads=8, query_len=65_536))


def test_how_much_is_held_is_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    s = Scenario(source="normal", query_len=512, num_heads=8, seed=506)
    assert cached.shown(s).layers[0].streamed is None
    monkeypatch.setenv("MHA_VIZ_HELD_MB", "1")
    assert cached.shown(s).layers[0].streamed is not None


def test_what_would_be_refused_does_not_wait_for_its_turn(turns: list[bool]) -> None:
    with pytest.raises(CapacityError, match="reduce query_len"):
        cached.run(Scenario(source="normal", num_heads=8, query_len=65_536))
    assert turns == []
