"""A client that stops reading: its own messages wait, what it has asked for before is all that is made for it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from mha_viz.errors import MhaVizError
from mha_viz.ui import backpressure
from mha_viz.ui.backpressure import Backpressure
from tests.coroutines import completed

DATA = {"type": "websocket.receive", "bytes": b"change"}
GONE = {"type": "websocket.disconnect", "code": 1001}


class Socket:
    """The server's side of a socket whose client reads only while `reading` is set."""

    def __init__(self, *incoming: dict[str, Any]) -> None:
        self.reading = asyncio.Event()
        self.sent = 0
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in incoming:
            self._incoming.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        return await self._incoming.get()

    async def send(self, message: Any) -> None:
        await self.reading.wait()
        self.sent += 1


async def _answering(heard: list[str], receive: Any, send: Any) -> None:
    """Do what Streamlit does: answer from a task of its own, and listen on."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def sender() -> None:
        while True:
            await send(await queue.get())

    sending = asyncio.create_task(sender())
    while (message := await receive())["type"] == "websocket.receive":
        heard.append(message["type"])
        queue.put_nowait({"type": "websocket.send", "bytes": b"answer"})
        await asyncio.sleep(0.05)  # the answer is under way
    heard.append(message["type"])
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


async def _served(socket: Socket, heard: list[str], *, stall: float) -> asyncio.Task[None]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await _answering(heard, receive, send)

    middleware = Backpressure(app, stall=stall, patience=0.02)
    return asyncio.create_task(middleware({"type": "websocket"}, socket.receive, socket.send))


def test_a_client_that_reads_is_heard_at_once() -> None:
    async def run() -> tuple[list[str], int]:
        socket, heard = Socket(DATA, DATA, DATA, GONE), []
        socket.reading.set()
        await asyncio.wait_for(await _served(socket, heard, stall=5), 5)
        return heard, socket.sent

    assert completed(run()) == (["websocket.receive"] * 3 + ["websocket.disconnect"], 3)


def test_a_client_that_does_not_read_is_heard_again_when_it_has() -> None:
    async def run() -> tuple[list[str], list[str]]:
        socket, heard = Socket(DATA, DATA, DATA, GONE), []
        task = await _served(socket, heard, stall=5)
        await asyncio.sleep(0.15)
        while_stuck = list(heard)
        socket.reading.set()
        await asyncio.wait_for(task, 5)
        return while_stuck, heard

    stuck, heard = completed(run())
    assert stuck == ["websocket.receive"]
    assert heard == ["websocket.receive"] * 3 + ["websocket.disconnect"]


@pytest.mark.parametrize("incoming", [[DATA], [DATA, DATA]], ids=["silent", "asking"])
def test_a_client_that_never_reads_counts_as_gone(incoming: list[dict[str, Any]]) -> None:
    async def run() -> list[str]:
        socket, heard = Socket(*incoming), []
        await asyncio.wait_for(await _served(socket, heard, stall=0.15), 5)
        return heard

    assert completed(run()) == ["websocket.receive", "websocket.disconnect"]


def test_other_scopes_pass_with_their_own_channels() -> None:
    seen: list[tuple[Any, ...]] = []

    async def inner(*arguments: Any) -> None:
        seen.append(arguments)

    async def channel(*_: Any) -> None: ...

    scope = {"type": "http"}
    completed(Backpressure(inner, stall=1)(scope, channel, channel))
    assert seen == [(scope, channel, channel)]


def test_how_long_a_message_may_wait_is_set_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MHA_VIZ_STALL_SECONDS", raising=False)
    assert backpressure.stall_seconds() == 60
    monkeypatch.setenv("MHA_VIZ_STALL_SECONDS", "0")
    with pytest.raises(MhaVizError) as caught:
        backpressure.stall_seconds()
    assert str(caught.value) == "MHA_VIZ_STALL_SECONDS must be a number from 1 to 86,400, not '0'."
