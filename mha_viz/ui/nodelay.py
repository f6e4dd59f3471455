"""Small messages leave at once instead of waiting until the browser has acknowledged those before them.

asyncio asks for that (TCP_NODELAY) on sockets that say they are TCP. Streamlit 1.67 opens its own socket, which leaves
its protocol to the system and so does not say it: a second message can then wait 40 ms for an acknowledgement that the
browser's system puts off.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send


class NoDelay:
    """Pure ASGI middleware around websockets, to be the outermost; everything else passes untouched.

    Args:
        app: The ASGI application to wrap.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI 3 asks."""
        if scope["type"] == "websocket":
            _leave_at_once(send)
        await self.app(scope, receive, send)


def _leave_at_once(send: Send) -> None:
    """Set the option on the connection of uvicorn's protocol, whose method `send` is; of other servers, do nothing."""
    transport: Any = getattr(getattr(send, "__self__", None), "transport", None)
    with suppress(AttributeError, OSError):  # no transport, no socket behind it, or one of another kind
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
