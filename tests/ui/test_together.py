"""When the messages of a run reach the browser, seen from the socket, with Streamlit's own messages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from mha_viz.ui import together
from mha_viz.ui.together import Together
from tests.coroutines import completed

Story = Callable[[Callable[..., Awaitable[None]], Callable[[], Awaitable[Any]]], Awaitable[None]]


def start(*fragments: str) -> ForwardMsg:
    message = ForwardMsg()
    message.new_session.name = "app"
    message.metadata.run.fragment_ids.extend(fragments)
    return message


def element(text: str) -> ForwardMsg:
    message = ForwardMsg()
    message.delta.new_element.text.body = text
    return message


END = ForwardMsg(script_finished=ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)
EARLY = ForwardMsg(script_finished=ForwardMsg.FINISHED_EARLY_FOR_RERUN)
RUNS, RESTS = ForwardMsg(), ForwardMsg()
RUNS.session_status_changed.script_is_running = True
RESTS.session_status_changed.script_is_running = False
ADDRESS = ForwardMsg()
ADDRESS.page_info_changed.query_string = "seed=5"


def seen(story: Story, *, gone: bool = False) -> list[tuple[ForwardMsg, float]]:
    """Return what the browser gets to draw, and when, while an app tells its story; it may have gone."""
    return [(message, at) for message, at in all_seen(story, gone=gone) if message not in together.AHEAD]


def all_seen(story: Story, *, gone: bool = False) -> list[tuple[ForwardMsg, float]]:
    """Return the same with what the browser gets and need not draw."""
    found: list[tuple[ForwardMsg, float]] = []
    said: asyncio.Queue[Any] = asyncio.Queue()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def tell(*messages: ForwardMsg) -> None:
            for message in messages:
                await send({"type": "websocket.send", "bytes": message.SerializeToString()})

        async def hear() -> Any:
            said.put_nowait({"type": "websocket.receive", "bytes": b""})
            return await receive()

        await story(tell, hear)

    async def send(message: Any) -> None:
        if gone:
            raise OSError("gone")
        found.append((ForwardMsg.FromString(message["bytes"]), time.monotonic() - begun))

    begun = time.monotonic()
    completed(Together(app)({"type": "websocket"}, said.get, send))
    return found


def test_the_messages_of_a_run_keep_their_order() -> None:
    sent = [start("picture"), RUNS, element("a"), element("b"), END, RESTS]

    async def story(tell: Any, hear: Any) -> None:
        await tell(*sent)

    assert [message for message, _ in seen(story)] == sent


@pytest.mark.parametrize("taking_over", [start("picture"), start()], ids=["of parts", "of the whole page"])
def test_a_run_that_only_called_a_callback_is_not_told_of(taking_over: ForwardMsg) -> None:
    after = [taking_over, RUNS, element("a"), END, RESTS]

    async def story(tell: Any, hear: Any) -> None:
        await tell(start("controls"), RUNS, EARLY, RESTS, *after)

    assert [message for message, _ in seen(story)] == after


def test_a_run_that_had_done_something_before_another_took_over_is_told_of() -> None:
    sent = [start("controls"), RUNS, element("a"), EARLY, RESTS, start("picture"), RUNS, element("b"), END, RESTS]

    async def story(tell: Any, hear: Any) -> None:
        await tell(*sent)

    assert [message for message, _ in seen(story)] == sent


def test_a_run_that_the_browser_knows_of_is_ended_for_it() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("controls"), RUNS)
        await asyncio.sleep(3 * together.QUIET)
        await tell(EARLY, RESTS, start("picture"), END)

    sent = [start("controls"), RUNS, EARLY, RESTS, start("picture"), END]
    assert [message for message, _ in seen(story)] == sent


def test_the_address_of_the_run_before_is_not_lost_with_a_callback() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), ADDRESS, END, start("controls"), EARLY, start("picture"), END)

    assert [message for message, _ in seen(story)] == [start("picture"), END, ADDRESS, start("picture"), END]


def test_nothing_goes_out_before_the_end_of_a_short_run() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), element("a"))
        await asyncio.sleep(together.QUIET / 3)
        await tell(END)

    assert seen(story)[0][1] >= together.QUIET / 3


def test_what_need_not_be_drawn_goes_ahead_of_what_comes_together_and_of_nothing_else() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start(), element("alone"), start("picture"), element("a"), END, element("after"))

    got = [message for message, _ in all_seen(story)]
    led = [*together.AHEAD, start("picture"), element("a"), END]
    assert got == [start(), element("alone"), *led, element("after")]


def test_a_run_that_takes_long_is_not_waited_for() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), element("a"))
        await asyncio.sleep(10 * together.MOST)
        await tell(element("b"), END)

    times = {message.delta.new_element.text.body: at for message, at in seen(story)}
    assert times["a"] < 5 * together.MOST < times["b"]


def test_a_run_that_sends_without_a_pause_is_not_waited_for() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"))
        for number in range(40):
            await tell(element(str(number)))
            await asyncio.sleep(together.QUIET / 3)
        await tell(END)

    found = seen(story)
    assert [message.delta.new_element.text.body for message, _ in found[1:-1]] == [str(n) for n in range(40)]
    assert found[-1][1] - found[0][1] > together.MOST


def test_the_address_follows_when_the_browser_has_painted() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), ADDRESS, element("a"), END, element("after"))
        await asyncio.sleep(3 * together.PAINTED)

    found = seen(story)
    assert [message for message, _ in found] == [start("picture"), element("a"), END, element("after"), ADDRESS]
    assert found[-1][1] - found[0][1] >= together.PAINTED - 0.01


def test_the_address_of_a_run_that_takes_long_follows_likewise() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"))
        await asyncio.sleep(together.MOST)
        await tell(element("a"), ADDRESS, element("b"), END, RESTS)
        await asyncio.sleep(3 * together.PAINTED)

    found = seen(story)
    assert [message for message, _ in found] == [start("picture"), element("a"), element("b"), END, RESTS, ADDRESS]
    assert found[-1][1] - found[1][1] >= together.PAINTED - 0.01


@pytest.mark.parametrize("message", [start("picture"), start()])
def test_the_address_goes_out_before_another_run(message: ForwardMsg) -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), ADDRESS, END)
        await hear()
        await asyncio.sleep(0.01)
        await tell(message, END)

    assert [message for message, _ in seen(story)] == [start("picture"), END, ADDRESS, message, END]


def test_the_address_goes_out_before_a_run_that_nobody_asked_for() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), ADDRESS, END, start("progress"), END)

    assert [message for message, _ in seen(story)] == [start("picture"), END, ADDRESS, start("progress"), END]


def test_what_is_held_goes_out_before_an_answer_to_the_browser() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), element("a"))
        await hear()
        await asyncio.sleep(0)

    assert [message for message, _ in seen(story)] == [start("picture"), element("a")]


def test_a_run_of_the_whole_page_and_what_is_no_run_are_sent_at_once() -> None:
    sent = [element("before"), start(), ADDRESS, element("a"), END, ADDRESS]

    async def story(tell: Any, hear: Any) -> None:
        await tell(*sent)

    assert [message for message, _ in seen(story)] == sent


def test_large_messages_are_held_like_others() -> None:
    large = element("x" * together.SMALL)

    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"), large, END)

    assert [message for message, _ in seen(story)] == [start("picture"), large, END]


def test_a_browser_that_has_gone_is_found_by_the_next_message() -> None:
    async def story(tell: Any, hear: Any) -> None:
        await tell(start("picture"))
        await asyncio.sleep(3 * together.QUIET)
        with pytest.raises(OSError, match="gone"):
            await tell(element("a"))

    assert seen(story, gone=True) == []


def test_a_browser_that_does_not_read_is_listened_to() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "bytes": start("picture").SerializeToString()})
        heard.append(await asyncio.wait_for(receive(), 5))

    async def receive() -> Any:
        return {"type": "websocket.receive"}

    async def send(message: Any) -> None:
        await asyncio.Event().wait()

    heard: list[Any] = []
    completed(Together(app)({"type": "websocket"}, receive, send))
    assert heard == [{"type": "websocket.receive"}]


def test_what_is_no_websocket_passes_untouched() -> None:
    async def app(*given: Any) -> None:
        got.append(given)

    got: list[Any] = []
    given = ({"type": "http"}, object(), object())
    completed(Together(app)(*given))  # type: ignore[arg-type]  # it must not call them
    assert got == [given]
