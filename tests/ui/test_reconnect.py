"""Which messages of a browser are changed on their way in: the first of a page that the server has forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from mha_viz.ui import reconnect
from mha_viz.ui.reconnect import Reconnect
from tests.coroutines import completed


class Runtime:
    """What says whether a session is there."""

    def __init__(self, sessions: set[str]) -> None:
        self.sessions = sessions

    def is_active_session(self, session: str) -> bool:
        return session in self.sessions


def asked(fragment: str = "", *, automatic: bool = False) -> dict[str, Any]:
    message = BackMsg()
    message.rerun_script.query_string = "seed=5"
    message.rerun_script.fragment_id = fragment
    message.rerun_script.is_auto_rerun = automatic
    message.rerun_script.widget_states.widgets.add(id="w").int_value = 8
    message.rerun_script.widget_states.widgets.add(id="button").trigger_value = True
    return {"type": "websocket.receive", "bytes": message.SerializeToString()}


def received(*messages: dict[str, Any], protocols: str = "streamlit, none, mine", count: int = 0) -> list[Any]:
    """Return what an app gets of these messages, if it ends a run after each."""
    found: list[Any] = []
    waiting = [{"type": "websocket.connect"}, *messages]
    done = ForwardMsg(script_finished=ForwardMsg.FINISHED_SUCCESSFULLY).SerializeToString()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(1 + (count or len(messages))):
            found.append(await receive())
            await send({"type": "websocket.send", "bytes": done})

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        pass

    scope = {"type": "websocket", "headers": [(b"sec-websocket-protocol", protocols.encode())]}
    completed(Reconnect(app)(scope, receive, send))
    return found[1:]


@pytest.mark.parametrize("protocols", ["streamlit", "streamlit, none", "streamlit, none, "])
def test_a_page_that_had_no_session_is_left_alone(protocols: str) -> None:
    assert received(asked("f"), protocols=protocols) == [asked("f")]


def test_what_is_no_message_is_left_to_streamlit() -> None:
    odd = {"type": "websocket.receive", "bytes": b"\xff\xff"}
    assert received(odd) == [odd]


def test_a_session_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect.runtime, "get_instance", lambda: Runtime({"mine"}))
    assert received(asked("f"), asked("g")) == [asked("f"), asked("g")]


def test_a_change_on_a_forgotten_page_comes_between_two_runs_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect.runtime, "get_instance", lambda: Runtime(set()))
    beat = {"type": "websocket.receive", "bytes": BackMsg(app_heartbeat=True).SerializeToString()}
    found = received(beat, asked("f"), asked("g"), count=5)
    assert found[0] == beat
    first, last = (BackMsg.FromString(found[at]["bytes"]).rerun_script for at in (1, 3))
    assert (first.fragment_id, first.query_string, len(first.widget_states.widgets)) == ("", "seed=5", 0)
    assert (last.fragment_id, last.query_string) == ("", "seed=5")
    assert [widget.id for widget in last.widget_states.widgets] == ["w"]  # no button is pressed twice
    assert [found[2], found[4]] == [asked("f"), asked("g")]


def test_a_page_that_draws_itself_again_asks_once_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect.runtime, "get_instance", lambda: Runtime(set()))
    first, second = received(asked("f", automatic=True), asked("f", automatic=True))
    whole = BackMsg.FromString(first["bytes"]).rerun_script
    assert (whole.fragment_id, whole.is_auto_rerun) == ("", False)
    assert second == asked("f", automatic=True)


def test_a_change_waits_no_longer_than_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect.runtime, "get_instance", lambda: Runtime(set()))
    monkeypatch.setattr(reconnect, "PATIENCE", 0.01)
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.extend([await receive() for _ in range(3)])

    async def receive() -> Any:
        return asked("f")

    scope = {"type": "websocket", "headers": [(b"sec-websocket-protocol", b"streamlit, none, mine")]}
    completed(Reconnect(app)(scope, receive, receive))
    assert found[1] == asked("f")
