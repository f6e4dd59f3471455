"""The load commands run, against a real server and at tiny sizes; no time is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from benchmarks import classroom, soak
from benchmarks.process import App, serving
from benchmarks.sessions import Reply, Session
from benchmarks.soak import Soaked
from tests.coroutines import completed


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with serving(tmp_path_factory.mktemp("class") / "server.log", {"OMP_NUM_THREADS": "1"}) as server:
        yield server
        assert server.faults() == []


@pytest.mark.parametrize("same", [True, False], ids=["same link", "own settings"])
def test_everybody_in_a_class_gets_an_answer_to_every_change(app: App, same: bool) -> None:
    async def story() -> classroom.Measured:
        async with AsyncExitStack() as stack:
            visitors = await classroom.joined(stack, [app], 5)
            return await classroom.lesson([app], visitors, 2, same=same, round_number=int(same))

    found = completed(asyncio.wait_for(story(), 60))
    assert found.errors == []
    assert len(found.changes) >= 5
    assert all(0 < to_figures <= last for to_figures, last in zip(found.figures, found.changes, strict=True))


def test_a_soak_finds_no_error(app: App) -> None:
    found = completed(asyncio.wait_for(soak.soaked(app, 4, 3), 60))
    assert found.errors == []
    assert found.changes > 3
    assert found.memory


def test_a_soak_notices_wrong_numbers_and_growth(monkeypatch: pytest.MonkeyPatch, app: App) -> None:
    monkeypatch.setattr(soak, "SAMPLED", 1.0)
    monkeypatch.setattr(soak.mv.Scenario, "from_query", lambda query: soak.mv.Scenario(seed=9))
    found = completed(asyncio.wait_for(soak.soaked(app, 2, 1), 60))
    assert any("the weights differ" in error or "panels for" in error for error in found.errors)
    assert found.failed()
    assert Soaked(memory=[50, 100, 105, 111.0]).failed()
    assert not Soaked(memory=[50, 100, 105, 109.0]).failed()


def test_quantiles() -> None:
    assert classroom.quantile(range(100), 0.95) == 95
    assert classroom.quantile([7.0], 0.99) == 7.0


def test_a_session_watches_a_long_sequence_until_all_of_it_is_computed(app: App) -> None:
    async def story() -> tuple[int, Reply]:
        async with Session(app.url, "source=normal&query_len=65536&num_heads=2&embed_dim=16") as visitor:
            await visitor.load()
            looks = 0
            while visitor.watched:
                reply = await visitor.watch()
                looks += 1
            return looks, reply

    looks, last = completed(asyncio.wait_for(story(), 100))
    assert looks > 1
    assert "long:detail" in last.figures
