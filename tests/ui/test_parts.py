"""The parts of Explore: what is drawn again after a change, seen by what a real server sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.process import App, serving
from benchmarks.sessions import Session
from mha_viz.ui import parts
from tests.coroutines import completed


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with serving(tmp_path_factory.mktemp("parts") / "server.log", {"OMP_NUM_THREADS": "1"}) as server:
        yield server
        assert server.faults() == []


def test_a_change_sends_the_picture_and_other_controls_only_where_they_change(app: App) -> None:
    async def story() -> tuple[int, int]:
        async with Session(app.url, "source=normal&query_len=8&num_heads=2&seed=1") as visitor:
            await visitor.load()
            picture = await visitor.change("seed", 2)
            both = await visitor.change("source", "clusters")  # which has other controls
            return (picture.received, both.received)

    picture, both = completed(asyncio.wait_for(story(), 60))
    assert 0 < picture < both - 4_000


def test_outside_of_a_page_there_is_nothing_to_draw_again() -> None:
    parts.redraw(parts.PICTURE)
    assert not parts.alone()
