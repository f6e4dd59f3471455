"""What a part of a page sends when it is drawn again reaches the browser at once, and its new address a little later.

Streamlit 1.67's page draws itself anew for messages that say how the script is doing, for each group of elements and
for the address: four times 5 to 9 ms for a change that the server answers in 11 ms. Of messages that come together it
does so for the first, and once for all others. So the browser is not told of a run that did no more than call a
callback, which asked for other parts: theirs follows at once.

Chromium hands the first message that comes to a page that waits over alone, and the page draws itself before the next.
So something that it need not draw, that the server is alive, goes ahead of several messages.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from enum import Enum, auto

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

QUIET = 0.009
"""Seconds without another message after which those so far are sent; Streamlit hands them on every 5 ms."""
MOST = 0.03
"""Seconds that a message waits at most."""
PAINTED = 0.05
"""Seconds after which the browser has painted what came with an address."""
SMALL = 4096
"""Bytes; what says how the script is doing is smaller."""
AHEAD = (ForwardMsg(heartbeat_ack=True),) * 2
"""What goes ahead of several messages: while the browser takes these in, the others come."""


class Together:
    """Pure ASGI middleware around websockets; everything else passes untouched.

    Args:
        app: The ASGI application to wrap.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI 3 asks."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        page = _Page(receive, send)
        try:
            await self.app(scope, page.receive, page.send)
        finally:
            page.leave()


class _Kind(Enum):
    START = auto()  # of a run that draws parts of the page
    STATUS = auto()  # whether a script runs
    EARLY = auto()  # the end of a run for which another one takes over
    END = auto()
    ADDRESS = auto()
    OTHER = auto()


_AHEAD: list[Message] = [{"type": "websocket.send", "bytes": message.SerializeToString()} for message in AHEAD]
_NOTHING_DONE = ({_Kind.START}, {_Kind.START, _Kind.STATUS})


def _kind(message: Message) -> _Kind:
    data = message.get("bytes")
    if not data or len(data) > SMALL:
        return _Kind.OTHER
    sent = ForwardMsg.FromString(data)
    match sent.WhichOneof("type"):
        case "new_session" if sent.metadata.run.fragment_ids:
            return _Kind.START
        case "session_status_changed":
            return _Kind.STATUS
        case "script_finished":
            return _Kind.EARLY if sent.script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN else _Kind.END
        case "page_info_changed":
            return _Kind.ADDRESS
    return _Kind.OTHER


class _Page:
    """One socket: what a run of parts of its page has sent so far, and the address that it leads to."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._one_by_one = asyncio.Lock()
        self._held: list[Message] = []
        self._kinds: set[_Kind] = set()  # of what is held
        self._is_untold = False  # whether the browser does not know of the run that has just ended
        self._address: list[Message] = []
        self._in_parts = False  # whether the run that goes on draws parts of the page
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def receive(self) -> Message:
        """Return the browser's next message, before whose answer it is sent all there is."""
        message = await self._receive()
        self._let_go()
        return message

    async def send(self, message: Message) -> None:
        """Send a message, or hold it for those that follow at once, or drop what nobody need know."""
        kind = _kind(message)
        if kind in (_Kind.END, _Kind.EARLY):
            self._in_parts = False
        if kind is _Kind.STATUS and self._is_untold:
            return
        self._is_untold = kind is _Kind.EARLY and self._kinds in _NOTHING_DONE
        if self._is_untold:
            self._take()
            return
        if kind is _Kind.START and not self._held:  # else a run takes over from one that has drawn something
            await self._release()
            self._in_parts, self._since = True, time.monotonic()
        elif kind is _Kind.ADDRESS and not self._held and self._in_parts:  # of a run that took longer than others
            self._address.append(message)
            self._wait(PAINTED)
            return
        elif not self._held:
            await self._pass_on([message])
            return
        (self._address if kind is _Kind.ADDRESS else self._held).append(message)
        self._kinds.add(kind)
        if kind is _Kind.END:
            held = self._take()
            self._wait(PAINTED)
            await self._pass_on(held)
        else:
            self._wait(min(QUIET, self._since + MOST - time.monotonic()))

    def _take(self) -> list[Message]:
        """Return what is held, and hold it no longer."""
        self._stop_waiting()
        held, self._held, self._kinds = self._held, [], set()
        return held

    async def _release(self) -> None:
        held, self._address = [*self._take(), *self._address], []
        await self._pass_on(held)

    async def _pass_on(self, messages: list[Message]) -> None:
        async with self._one_by_one:
            for message in [*_AHEAD, *messages] if len(messages) > 1 else messages:
                await self._send(message)

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._let_go)

    def _let_go(self) -> None:
        """Send what is held without waiting until a slow browser has taken it."""
        if self._held or self._address:
            task = asyncio.create_task(self._release_if_there())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _release_if_there(self) -> None:
        with suppress(OSError, RuntimeError):  # the browser is gone, as the next message will find
            await self._release()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def leave(self) -> None:
        """Send nothing more: the connection is over."""
        self._stop_waiting()
