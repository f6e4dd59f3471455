"""A page that comes back to a server which has forgotten its session is drawn anew from its link, and then obeyed.

A browser takes up a lost connection by itself. Streamlit 1.67 gives it a new session if the old one is gone (the
server was started again, another replica answers, or a minute has passed), and then ignores it without a word: the
page asks for fragments, which only a run of the whole page would have made.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

PATIENCE = 60.0
"""Seconds that a change waits at most for the run of the whole page before it."""


class Reconnect:
    """Pure ASGI middleware around the sockets of pages that had a session; everything else passes untouched.

    Args:
        app: The ASGI application to wrap.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI 3 asks."""
        session = _session(scope) if scope["type"] == "websocket" else ""
        if session:
            page = _Page(session, receive, send)
            receive, send = page.receive, page.send
        await self.app(scope, receive, send)


def _session(scope: Scope) -> str:
    """Return the session that a browser had before: the third of its subprotocols, as Streamlit has it."""
    told = Headers(scope=scope).get("sec-websocket-protocol", "").split(",")
    return told[2].strip() if len(told) > 2 else ""


def _without_presses(asked: BackMsg) -> bytes:
    """Return the message without the buttons that were pressed: once is what was meant."""
    again = BackMsg()
    again.CopyFrom(asked)
    again.rerun_script.widget_states.ClearField("widgets")
    again.rerun_script.widget_states.widgets.extend(
        widget
        for widget in asked.rerun_script.widget_states.widgets
        if "trigger" not in (widget.WhichOneof("value") or "")
    )
    data: bytes = again.SerializeToString()
    return data


class _Page:
    """One socket: until its page has been drawn, it asks for the whole of it before and after what it asks for."""

    def __init__(self, session: str, receive: Receive, send: Send) -> None:
        self._session, self._receive, self._send = session, receive, send
        self._drawn = False
        self._waiting: list[Message] = []
        self._finished = asyncio.Event()

    async def receive(self) -> Message:
        """Return the browser's next message, or one that waits until the run before it is over."""
        if self._waiting:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._finished.wait(), PATIENCE)
            self._finished.clear()
            return self._waiting.pop(0)
        message = await self._receive()
        if self._drawn or not message.get("bytes"):
            return message
        try:
            asked = BackMsg.FromString(message["bytes"])
        except Exception:  # no message: protobuf has no public name of an error, and Streamlit its own answer
            return message
        if asked.WhichOneof("type") != "rerun_script":
            return message
        self._drawn = True
        if not asked.rerun_script.fragment_id or runtime.get_instance().is_active_session(self._session):
            return message
        changed = not asked.rerun_script.is_auto_rerun
        asked.rerun_script.ClearField("fragment_id")
        asked.rerun_script.ClearField("is_auto_rerun")
        if changed:  # its control shows the link's value after the first run, and its own again after the last
            self._waiting = [message, {**message, "bytes": _without_presses(asked)}]
        asked.rerun_script.ClearField("widget_states")
        return {**message, "bytes": asked.SerializeToString()}

    async def send(self, message: Message) -> None:
        """Send a message, and note the end of a run for which another one waits."""
        await self._send(message)
        data = message.get("bytes")
        if self._waiting and data and ForwardMsg.FromString(data).WhichOneof("type") == "script_finished":
            self._finished.set()
