"""What is asked of the real connections of a real server whose socket was opened as Streamlit opens it."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvicorn
import websockets

from mha_viz.ui.nodelay import NoDelay
from tests.coroutines import completed


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Accept a websocket and say once what it says."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    await send({"type": "websocket.send", "text": message["text"]})
    await receive()


def option(send: Any) -> int:
    connection = send.__self__.transport.get_extra_info("socket")
    found: int = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    return found


def served(app: Any) -> str:
    """Serve an app for one websocket, on a socket that does not say which protocol it speaks; return the reply."""

    async def story() -> str:
        with socket.socket(socket.AF_INET) as listening:
            listening.bind(("127.0.0.1", 0))
            config = uvicorn.Config(app, lifespan="off", log_level="warning")
            server = uvicorn.Server(config)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            host, port = listening.getsockname()
            async with websockets.connect(f"ws://{host}:{port}/") as browser:
                await browser.send("hello")
                reply = await browser.recv(decode=True)
            server.should_exit = True
            await running
            return reply

    return completed(asyncio.wait_for(story(), 30))


def test_small_messages_leave_a_socket_at_once_that_asyncio_does_not_know_as_tcp() -> None:
    found: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            found.append(option(send))
        await NoDelay(echo)(scope, receive, send)
        if scope["type"] == "websocket":
            found.append(option(send))

    assert served(app) == "hello"
    assert found == [0, 1]


async def plain(message: Any) -> None: ...


class Protocol:
    """What a server speaks over a connection, or over none."""

    def __init__(self, connection: socket.socket | None) -> None:
        self.transport, self._connection = self, connection

    def get_extra_info(self, name: str) -> socket.socket | None:
        return self._connection

    async def send(self, message: Any) -> None: ...


def passed(send: Any) -> list[Any]:
    """Return what an app is given of a websocket."""
    seen: list[Any] = []

    async def app(*given: Any) -> None:
        seen.extend(given)

    completed(NoDelay(app)({"type": "websocket"}, plain, send))  # type: ignore[arg-type]  # it must not call them
    return seen


@pytest.mark.parametrize("send", [plain, Protocol(None).send])
def test_a_server_that_shows_no_connection_is_left_alone(send: Any) -> None:
    assert passed(send) == [{"type": "websocket"}, plain, send]


def test_a_connection_that_has_no_such_option_is_left_alone() -> None:
    here, there = socket.socketpair()
    with here, there:
        send = Protocol(here).send
        assert passed(send) == [{"type": "websocket"}, plain, send]
