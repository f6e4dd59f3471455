"""Faults against a real server: each leaves it serving. Its cache is always full and nearly everything is heavy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mha_viz as mv
from benchmarks.decoded import figure
from benchmarks.process import App, serving
from benchmarks.sessions import Reply, Session
from tests.coroutines import completed

LIGHT = "source=normal&query_len=16&num_heads=4"
LARGE = "source=normal&query_len=1536&num_heads=8"  # about a quarter of a second, with all weights held
LIMITS = {
    "MHA_VIZ_CACHE_MB": "1",
    "MHA_VIZ_HEAVY_MB": "4",
    "MHA_VIZ_HELD_MB": "1000",
    "MHA_VIZ_WORKERS": "1",
    "MHA_VIZ_QUEUE": "2",
    "MHA_VIZ_STALL_SECONDS": "3",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with serving(tmp_path_factory.mktemp("faults") / "server.log", LIMITS) as server:
        yield server
        assert server.faults() == []


def run(story: Coroutine[Any, Any, None]) -> None:
    completed(asyncio.wait_for(story, 120))


def in_line(reply: Reply) -> bool:
    return any("Position in line" in text for text in reply.texts)


def weights(reply: Reply) -> list[np.ndarray]:
    return list(figure(reply.figures["grid"]).panels)


def expected(link: str, **changes: Any) -> np.ndarray:
    return mv.run(replace(mv.Scenario.from_query(link), **changes)).layers[0].weights[0].numpy()


async def _goes_on(app: App) -> None:
    """Fail unless the server gives somebody who comes now what they ask for."""
    async with Session(app.url, LIGHT) as visitor:
        await visitor.load()
        np.testing.assert_array_equal(weights(await visitor.change("seed", 31)), expected(LIGHT, seed=31))


def test_who_waits_is_told_the_place_and_light_settings_do_not_wait(app: App) -> None:
    async def story() -> None:
        async with Session(app.url, LARGE) as busy, Session(app.url, LIGHT) as other, Session(app.url, LIGHT) as light:
            await busy.load()
            await other.load()
            await light.load()
            await busy.send("seed", 1)
            await asyncio.sleep(0.1)
            await other.send("query_len" if "query_len" in other.widgets else "num_heads", 4)
            reply = await light.change("seed", 2)
            assert not in_line(reply)
            np.testing.assert_array_equal(weights(reply), expected(LIGHT, seed=2))
            await busy.replied()
        await _goes_on(app)

    run(story())


def test_sessions_wait_in_line_and_a_newer_setting_gives_up_the_place(app: App) -> None:
    async def story() -> None:
        async with Session(app.url, LARGE) as busy, Session(app.url, LARGE) as waiting:
            await busy.load()
            await waiting.load()
            await busy.send("seed", 11)
            await asyncio.sleep(0.1)
            await waiting.send("seed", 12)
            told = await waiting.replied(until=in_line)
            assert told.texts[-1] == "Others are computing. Position in line: 1"
            await waiting.send("seed", 13)
            drawn: set[str] = set()
            while "seed=13" not in waiting.query:
                reply = await waiting.replied(until=lambda _: "seed=13" in waiting.query)
                drawn |= set(reply.figures)
                assert not reply.errors
                assert "seed=12" not in waiting.query
            assert "grid" in drawn
        await _goes_on(app)

    run(story())


def test_a_full_line_refuses_in_a_sentence(app: App) -> None:
    async def story() -> None:
        visitors = [Session(app.url, LARGE) for _ in range(5)]
        for visitor in visitors:
            await visitor.__aenter__()
            await visitor.load()
        replies = await asyncio.gather(*(v.change("seed", 20 + i) for i, v in enumerate(visitors)))
        refused = [error for reply in replies for error in reply.errors]
        assert refused
        assert all(error.startswith("The server is busy: 2 computations wait for their turn") for error in refused)
        assert sum(not reply.errors for reply in replies) >= 3
        for visitor in visitors:
            await visitor.__aexit__(None, None, None)
        await _goes_on(app)

    run(story())


def test_a_browser_that_closes_in_the_middle_gives_its_turn_and_its_place_back(app: App) -> None:
    async def story() -> None:
        gone = [Session(app.url, LARGE) for _ in range(2)]
        for visitor in gone:
            await visitor.__aenter__()
            await visitor.load()
        for i, visitor in enumerate(gone):
            await visitor.send("seed", 40 + i)
        await gone[1].replied(until=lambda reply: bool(reply.texts))
        for visitor in gone:
            assert visitor.socket is not None
            visitor.socket.transport.abort()
        async with Session(app.url, LARGE) as stays:
            await stays.load()
            assert not (await stays.change("seed", 42)).errors
        await _goes_on(app)

    run(story())


def test_a_full_cache_gives_right_answers(app: App) -> None:
    async def story() -> None:
        async with Session(app.url, LIGHT) as visitor:
            await visitor.load()
            for seed in [*range(50, 60), *range(50, 60)]:  # each run is pushed out before it is asked for again
                reply = await visitor.change("seed", seed)
                np.testing.assert_array_equal(weights(reply), expected(LIGHT, seed=seed))

    run(story())


@pytest.mark.skipif(not os.path.exists("/proc"), reason="the memory of a process is read on Linux alone")
def test_a_client_that_stops_reading_does_not_make_the_server_grow(app: App) -> None:
    async def story() -> None:
        link = "source=normal&query_len=512&num_heads=8"
        async with Session(app.url, link, unread=1) as stuck, Session(app.url, link) as other:
            await stuck.load()
            await other.load()
            for seed in (60, 61):
                await other.change("seed", seed)
            before = app.rss()
            for turn in range(60):  # two pictures that are there already: only what is sent can make it grow
                await asyncio.wait_for(stuck.send("seed", 60 + turn % 2), 10)
                await asyncio.sleep(0.2)
            assert app.rss() - before < 35  # measured: 9 MiB, and 47 MiB without the bound
            await other.change("seed", 61)
        await _goes_on(app)

    run(story())
