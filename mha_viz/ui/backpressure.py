"""A browser that stops reading is not listened to until it has read, and after a while it is let go.

Streamlit 1.67 keeps up to 500 messages for a socket that takes nothing more, whatever their size, and goes on running
scripts for it: a stuck browser that sends changes could make the server hold gigabytes. It cannot ask for anything
here while its last answer is stuck, so that what waits for it is what one change makes.
"""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mha_viz import environment

STALL_VARIABLE = "MHA_VIZ_STALL_SECONDS"
"""Environment variable: how long one message may wait for a browser to take it, 60 seconds by default."""
PATIENCE = 0.5
"""Seconds that a message may wait before the browser's own messages do; a slow network takes longer than that too."""


def stall_seconds() -> float:
    """Return how long one message may wait, from the environment.

    Raises:
        MhaVizError: The variable holds something else than a number in its range.
    """
    return environment.number(STALL_VARIABLE, 60, low=1, high=86_400)


class Backpressure:
    """Pure ASGI middleware around websockets; everything else passes untouched.

    Args:
        app: The ASGI application to wrap.
        stall: Seconds that one message may wait for its reader before the socket counts as closed.
        patience: Seconds that it may wait before messages from that reader wait too.
    """

    def __init__(self, app: ASGIApp, *, stall: float, patience: float = PATIENCE) -> None:
        self.app, self.stall, self.patience = app, stall, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI 3 asks."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        reader = _Reader(receive, send, self.stall, self.patience)
        try:
            await self.app(scope, reader.receive, reader.send)
        finally:
            reader.close()


class _Reader:
    """One socket: since when its oldest message waits, and whether the socket is given up."""

    def __init__(self, receive: Receive, send: Send, stall: float, patience: float) -> None:
        self._receive, self._send, self._stall, self._patience = receive, send, stall, patience
        self._since: float | None = None
        self._taken = asyncio.Event()
        self._incoming: asyncio.Future[Message] | None = None

    async def send(self, message: Message) -> None:
        self._since = time.monotonic()
        try:
            await self._send(message)
        finally:
            self._since = None
            self._taken.set()

    async def receive(self) -> Message:
        """Return the next message once what was sent has been taken, or a disconnect when that takes too long."""
        if self._incoming is None:
            self._incoming = asyncio.ensure_future(self._receive())
        while True:
            await asyncio.wait([self._incoming], timeout=self._stall / 4)
            if self._waited() > self._stall:
                return {"type": "websocket.disconnect", "code": 1008, "reason": "not reading"}
            if self._incoming.done():
                break
        message = self._incoming.result()
        self._incoming = None
        return message if await self._caught_up(message) else {"type": "websocket.disconnect", "code": 1008}

    async def _caught_up(self, message: Message) -> bool:
        """Wait until nothing is stuck; return whether that happened in time. A disconnect need not wait."""
        while message["type"] == "websocket.receive" and self._waited() > self._patience:
            if self._waited() > self._stall:
                return False
            self._taken.clear()
            try:
                async with asyncio.timeout(max(0.01, self._stall - self._waited())):
                    await self._taken.wait()
            except TimeoutError:
                continue
        return True

    def _waited(self) -> float:
        return 0.0 if self._since is None else time.monotonic() - self._since

    def close(self) -> None:
        if self._incoming is not None:
            self._incoming.cancel()
