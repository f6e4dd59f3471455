"""Who leaves, and who comes back: a server holds no session for longer than it says, and a page goes on without one."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mha_viz as mv
from benchmarks.decoded import figure
from benchmarks.process import App, serving
from benchmarks.sessions import Session
from tests.coroutines import completed

LINK = "source=normal&query_len=16&num_heads=4"
PEOPLE = 8
TTL = ("--server.disconnectedSessionTTL", "1")


def test_sessions_are_gone_when_their_time_is_over_though_nobody_else_comes(tmp_path: Path) -> None:
    async def story(app: App) -> None:
        async with Session(app.url, LINK) as first:
            await first.load()
            await asyncio.sleep(2)
        await asyncio.sleep(6)
        before = app.process.num_fds()
        visitors = [Session(app.url, LINK) for _ in range(PEOPLE)]
        for visitor in visitors:
            await visitor.__aenter__()
            await visitor.load()
        assert app.process.num_fds() >= before + 2 * PEOPLE  # each has a socket and an event loop of its own
        await asyncio.sleep(2)
        for visitor in visitors:
            await visitor.__aexit__(None, None, None)
        for _ in range(20):
            await asyncio.sleep(1)
            if app.process.num_fds() <= before:
                return
        assert app.process.num_fds() <= before

    with serving(tmp_path / "server.log", {"MHA_VIZ_IDLE_SECONDS": "2"}, TTL) as app:
        completed(asyncio.wait_for(story(app), 120))
        assert app.faults() == []


@pytest.mark.parametrize(("away", "resumed"), [(0.0, True), (4.0, False)], ids=["in time", "too late"])
def test_who_comes_back_goes_on_where_they_were(away: float, resumed: bool, tmp_path: Path) -> None:
    async def story(app: App) -> None:
        visitor = Session(app.url, LINK)
        async with visitor:
            await visitor.load()
            await visitor.change("seed", 5)
            before = visitor.name
        await asyncio.sleep(away)
        async with Session(app.url, LINK):  # with whom sessions end whose time is over
            pass
        async with visitor:
            replies = [await visitor.change("seed", 6)]
            with suppress(TimeoutError):  # of runs that follow on each other some may be one
                while not resumed and len(replies) < 3:
                    replies.append(await visitor.replied(5))
            drawn = [reply.figures["grid"] for reply in replies if "grid" in reply.figures]
            expected = mv.run(replace(mv.Scenario.from_query(LINK), seed=6)).layers[0].weights[0].numpy()
            np.testing.assert_array_equal(list(figure(drawn[-1]).panels), expected)
            await visitor.linger()
            assert "seed=6" in visitor.query
            assert (visitor.name == before) == resumed
            assert not any(reply.errors for reply in replies)

    with serving(tmp_path / "server.log", {"MHA_VIZ_IDLE_SECONDS": "2"}, TTL) as app:
        completed(asyncio.wait_for(story(app), 120))
        assert app.faults() == []
