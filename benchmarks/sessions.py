"""A visitor without a browser: the websocket session that Streamlit's page opens, spoken in its own messages.

It sends what the page sends (a first run with the link, then one widget at a time with the fragment that holds it and
the hashes of the large messages that it has already) and reads until the script has finished.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from mha_viz.ui.values import PREFIX

DONE = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)
MAX_MESSAGE = 256 * 2**20
KINDS = ("number_input", "text_area", "text_input", "selectbox", "checkbox", "button", "slider")


class SessionError(Exception):
    """The app showed an exception, ended a script with an error, or closed the socket."""


@dataclass(frozen=True)
class Widget:
    """A control of the page: what a change of it has to name."""

    id: str
    kind: str
    fragment: str


@dataclass
class Reply:
    """What came back from one rerun.

    Attributes:
        seconds: from sending to the last message.
        to_figures: from sending to the last figure, in seconds; 0 without one.
        received: bytes of all messages.
        errors: the texts of `st.error` boxes, which are sentences and not faults.
        texts: all other texts, those of spinners included, in the order in which they came.
        controls: the labels of the controls that came.
        figures: the bytes of each figure of the plot component, by the element's key.
    """

    seconds: float = 0.0
    to_figures: float = 0.0
    received: int = 0
    errors: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    controls: list[str] = field(default_factory=list)
    figures: dict[str, bytes] = field(default_factory=dict)


class Session:
    """One visitor of a page; use it as `async with Session(url, "seed=3") as visitor`.

    Args:
        url: The app's address, without a slash at its end.
        query: The link's query string.
        path: The page, as in `masks`; empty for the first.
        cookie: What a browser would send back to a proxy that keeps each visitor at one server.
        unread: How many messages may wait to be read; with few, whoever does not ask for a reply stops reading.

    Attributes:
        name: What the server calls the session.
        widgets: The page's controls, by their labels.
        watched: The parts of the page that draw themselves again and again, and after how many seconds.
    """

    def __init__(self, url: str, query: str = "", path: str = "", cookie: str = "", unread: int = 1024) -> None:
        self.unread = unread
        self.url, self.query, self.path, self.cookie = url, query, path, cookie
        self.widgets: dict[str, Widget] = {}
        self.watched: dict[str, float] = {}
        self.socket: websockets.ClientConnection | None = None
        self.name = ""
        self._page = ""
        self._kept: dict[str, ForwardMsg] = {}

    async def __aenter__(self) -> Session:
        stream = self.url.replace("http", "ws", 1) + "/_stcore/stream"
        headers = {"Cookie": self.cookie} if self.cookie else {}
        options: dict[str, Any] = {
            "additional_headers": headers,
            "compression": None,
            "max_size": MAX_MESSAGE,
            "open_timeout": 60,
            "close_timeout": 1,
        }
        # As a browser says which session it had; the second is a token that only uploads need.
        told = ["streamlit", "none", self.name] if self.name else ["streamlit"]
        protocols = [websockets.Subprotocol(word) for word in told]
        self.socket = await websockets.connect(stream, subprotocols=protocols, origin=self.url, **options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.socket is not None
        await self.socket.close()

    async def load(self, timeout: float = 120) -> Reply:
        """Run the page for the first time, from the link."""
        start = time.perf_counter()
        await self._send(ClientState())
        return await self.replied(timeout, start=start)

    async def change(self, label: str, value: Any, timeout: float = 120) -> Reply:
        """Set the control with this label, as a visitor does, and wait for the page's last message."""
        start = time.perf_counter()
        await self.send(label, value)
        return await self.replied(timeout, start=start)

    async def watch(self, timeout: float = 120) -> Reply:
        """Wait as long as the part of the page says that draws itself again and again, and have it drawn."""
        fragment, seconds = next(iter(self.watched.items()))
        await asyncio.sleep(seconds)
        await self._send(ClientState(fragment_id=fragment))
        return await self.replied(timeout)

    async def send(self, label: str, value: Any) -> None:
        """Set a control and wait for nothing."""
        widget = self.widgets[label]
        state = ClientState(fragment_id=widget.fragment)
        _set(state.widget_states.widgets.add(id=widget.id), widget.kind, value)
        await self._send(state)

    async def replied(
        self, timeout: float = 120, until: Callable[[Reply], bool] | None = None, start: float | None = None
    ) -> Reply:
        """Read until a script has finished, or until a reply satisfies `until`; times count from `start`, or now."""
        reply, start = Reply(), start or time.perf_counter()
        async with asyncio.timeout(timeout):
            while True:
                figures = len(reply.figures)
                done = await self._read(reply)
                reply.seconds = time.perf_counter() - start
                if len(reply.figures) > figures:
                    reply.to_figures = reply.seconds
                if done or (until and until(reply)):
                    return reply

    async def linger(self, seconds: float = 0.3) -> None:
        """Take in what comes unasked, as the new address does once a browser would have painted the picture."""
        with suppress(TimeoutError):
            await self.replied(seconds)

    def values(self, digest: str) -> bytes:
        """Fetch the exact values of a panel that wait on the server."""
        request = urllib.request.Request(f"{self.url}{PREFIX}/values/{digest}", headers={"Cookie": self.cookie})
        with urllib.request.urlopen(request, timeout=60) as response:
            data: bytes = response.read()
            return data

    async def _send(self, state: ClientState) -> None:
        assert self.socket is not None
        state.query_string, state.page_script_hash = self.query, self._page
        state.page_name = "" if self._page else self.path
        state.context_info.url = f"{self.url}/{self.path}"
        state.context_info.timezone, state.context_info.locale = "UTC", "en-US"
        state.cached_message_hashes.extend(self._kept)
        await self.socket.send(BackMsg(rerun_script=state).SerializeToString())

    async def _read(self, reply: Reply) -> bool:
        """Take in one message; return whether it is the last of a run."""
        assert self.socket is not None
        try:
            data = await self.socket.recv(decode=False)
        except websockets.ConnectionClosed as error:
            raise SessionError(f"the socket was closed: {error}") from None
        reply.received += len(data)
        message = ForwardMsg.FromString(data)
        kind = message.WhichOneof("type")
        if kind == "ref_hash":
            message, kind = self._kept[message.ref_hash], "delta"
        if kind == "delta":
            if message.metadata.cacheable:
                self._kept[message.hash] = message
            if message.delta.WhichOneof("type") == "new_element":
                self._element(message.delta.new_element, message.delta.fragment_id, reply)
        elif kind == "new_session":
            self._page = message.new_session.page_script_hash
            self.name = message.new_session.initialize.session_id or self.name
            if not message.metadata.run.fragment_ids:
                self.watched.clear()
        elif kind == "auto_rerun":
            self.watched[message.auto_rerun.fragment_id] = message.auto_rerun.interval
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self.watched.pop(fragment, None)
        elif kind == "page_info_changed":
            self.query = message.page_info_changed.query_string
        elif kind == "script_finished":
            if message.script_finished == ForwardMsg.FINISHED_WITH_COMPILE_ERROR:
                raise SessionError("the script does not compile")
            return message.script_finished in DONE
        return False

    def _element(self, element: Element, fragment: str, reply: Reply) -> None:
        kind = element.WhichOneof("type")
        if kind in KINDS:
            shown = getattr(element, kind)
            self.widgets[shown.label] = Widget(shown.id, kind, fragment)
            reply.controls.append(shown.label)
        elif kind == "exception":
            raise SessionError(f"the app showed {element.exception.type}: {element.exception.message}")
        elif kind == "alert":
            reply.errors.append(element.alert.body)
        elif kind == "bidi_component":
            reply.figures[element.bidi_component.id.rpartition("-")[2]] = element.bidi_component.bytes
        elif kind in ("text", "markdown", "spinner"):
            shown = getattr(element, kind)
            reply.texts.append(shown.text if kind == "spinner" else shown.body)


def _set(state: WidgetState, kind: str, value: Any) -> None:
    if kind in ("number_input", "slider"):
        if kind == "slider" or isinstance(value, float):
            state.double_value = value
        else:
            state.int_value = value
    elif kind == "checkbox":
        state.bool_value = value
    elif kind == "button":
        state.trigger_value = value
    else:
        state.string_value = value


def get(url: str, timeout: float = 60) -> bytes:
    """Return what a GET request answers with."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        body: bytes = response.read()
        return body
