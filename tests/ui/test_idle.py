"""What a server does now and then: it collects garbage, and gives memory back when everybody has left."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mha_viz.errors import MhaVizError
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, idle, values
from tests.coroutines import completed


def test_release_drops_what_is_kept_and_the_next_run_is_computed_anew() -> None:
    first = cached.run(Scenario(seed=601))
    spec = cached.head_grid(Scenario(seed=601), 0, 0, "shared")
    digest = values.store.put(np.ones((2, 2), np.float32))
    idle.release()
    assert values.store.get(digest) is None
    assert cached.head_grid(Scenario(seed=601), 0, 0, "shared") is not spec
    del first


def _happened(here: list[bool], monkeypatch: pytest.MonkeyPatch, *, after: str) -> list[str]:
    """Return what `tidy` does while somebody is there or not, look by look."""
    done: list[str] = []

    def look() -> bool:
        if not here:
            raise asyncio.CancelledError
        done.append("somebody" if here[0] else "nobody")
        return here.pop(0)

    monkeypatch.setenv("MHA_VIZ_IDLE_SECONDS", after)
    monkeypatch.setattr(idle, "EVERY", 0.0)
    monkeypatch.setattr(idle, "somebody_is_here", look)
    monkeypatch.setattr(idle, "release", lambda: done.append("released"))
    monkeypatch.setattr(idle.gc, "collect", lambda: done.append("collected"))
    with pytest.raises(asyncio.CancelledError):
        completed(idle.tidy())
    return done


def test_memory_is_released_once_each_time_that_everybody_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _happened([False, True, False, False, False, True, False, False], monkeypatch, after="0")
    assert [what for what in found if what != "collected"] == [
        "nobody",
        *("somebody", "nobody", "nobody", "released", "nobody"),
        *("somebody", "nobody", "nobody", "released"),
    ]
    assert found.count("collected") == 8


def test_nothing_is_released_before_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "released" not in _happened([True, False, False], monkeypatch, after="1000")


def test_how_long_is_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_IDLE_SECONDS", "soon")
    with pytest.raises(MhaVizError) as caught:
        idle.idle_seconds()
    assert str(caught.value) == "MHA_VIZ_IDLE_SECONDS must be a number from 0 to 1e+09, not 'soon'."
