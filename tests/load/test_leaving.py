"""What a server holds after everybody has left: no session, and none of what belongs to one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from benchmarks.process import App, serving
from benchmarks.sessions import Session
from tests.coroutines import completed

LINK = "source=normal&query_len=16&num_heads=4"
PEOPLE = 8


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

    flags = ("--server.disconnectedSessionTTL", "1")
    with serving(tmp_path / "server.log", {"MHA_VIZ_IDLE_SECONDS": "2"}, flags) as app:
        completed(asyncio.wait_for(story(app), 120))
        assert app.faults() == []
