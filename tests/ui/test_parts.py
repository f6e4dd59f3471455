"""The parts of Explore: what is drawn again after a change, seen by what a real server sends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from benchmarks.process import App, serving
from benchmarks.sessions import Reply, Session
from mha_viz.ui import parts
from tests.coroutines import completed


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with serving(tmp_path_factory.mktemp("parts") / "server.log", {"OMP_NUM_THREADS": "1"}) as server:
        yield server
        assert server.faults() == []


LINK = "source=normal&query_len=8&num_heads=2&seed=1"


def replies(app: App, *changes: tuple[str, object], link: str = LINK) -> list[Reply]:
    """Return what comes back from one change after the other."""

    async def story() -> list[Reply]:
        async with Session(app.url, link) as visitor:
            await visitor.load()
            return [await visitor.change(label, value) for label, value in changes]

    return completed(asyncio.wait_for(story(), 60))


def test_a_change_draws_the_picture_and_nothing_else(app: App) -> None:
    (reply,) = replies(app, ("seed", 2))
    assert set(reply.figures) == {"grid", "detail"}
    assert reply.controls == []


@pytest.mark.parametrize(
    ("link", "name", "value", "choice"),
    [
        (LINK, "num_heads", 4, "head"),
        ("text=one+two", "text", "one two\nthree", "batch item"),
        ("text=+", "text", "one two", "head"),  # before, nothing could be drawn
    ],
)
def test_a_change_of_what_can_be_chosen_draws_the_choices_too(
    app: App, link: str, name: str, value: object, choice: str
) -> None:
    (reply,) = replies(app, (name, value), link=link)
    assert {"grid", "detail"} <= set(reply.figures)
    assert choice in reply.controls


def test_a_choice_draws_what_it_shows_and_not_itself(app: App) -> None:
    (reply,) = replies(app, ("head", 1))
    assert set(reply.figures) == {"grid", "detail"}
    assert reply.controls == []


def test_another_layer_may_have_other_choices(app: App) -> None:
    (reply,) = replies(app, ("layer", 1), link="stack=encoder&num_layers=2")
    assert {"overview", "grid", "detail"} <= set(reply.figures)
    assert "head" in reply.controls


def test_a_chosen_cell_follows_each_change(app: App) -> None:
    (reply,) = replies(app, ("seed", 2), link=f"{LINK}&query=3&key=1")
    assert set(reply.figures) == {"grid", "detail", "row"}


def test_a_setting_that_others_depend_on_draws_the_controls_too(app: App) -> None:
    (reply,) = replies(app, ("source", "text"))
    assert {"grid", "detail"} <= set(reply.figures)
    assert {"seed", "text"} <= set(reply.controls)


def test_undo_draws_what_it_brings_back_in_picture_and_controls(app: App) -> None:
    _, reply = replies(app, ("seed", 2), ("Undo", True))
    assert {"grid", "detail"} <= set(reply.figures)
    assert "seed" in reply.controls


def test_a_change_after_undo_draws_the_controls_in_which_redo_goes_out(app: App) -> None:
    *_, after_undo, next_one = replies(app, ("seed", 2), ("Undo", True), ("seed", 3), ("seed", 4))
    assert "seed" in after_undo.controls
    assert "seed" not in next_one.controls


def test_a_value_that_does_not_fit_stays_in_its_control_until_it_is_taken_back(app: App) -> None:
    refused, undone = replies(app, ("num_heads", 5), ("Undo", True))
    assert [error.partition(",")[0] for error in refused.errors] == ["num_heads must divide embed_dim"]
    assert "num_heads" not in refused.controls
    assert undone.errors == []
    assert "num_heads" in undone.controls


def test_outside_of_a_page_there_is_nothing_to_draw_again() -> None:
    parts.redraw(parts.PICTURE)
    assert not parts.alone()
