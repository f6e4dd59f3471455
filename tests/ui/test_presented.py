"""A component's value is shown as Streamlit itself shows it, and without a class of its own where nothing was sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.components.v2.bidi_component import main
from streamlit.components.v2.bidi_component.serialization import deserialize_trigger_list
from streamlit.components.v2.presentation import make_bidi_component_presenter
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.state.common import WidgetMetadata
from streamlit.runtime.state.session_state import SessionState

from mha_viz.ui import presented

EVENTS = "events of the component"
CELL = {"event": "cell", "value": {"panel": 0, "query": 3, "key": 5}}
PAINT = {"event": "paint", "value": "undo"}


def session(sent: Any) -> SessionState:
    """Return the state of a session whose browser has sent something for the component, or None."""
    state = SessionState()
    metadata: WidgetMetadata[Any] = WidgetMetadata(
        id=EVENTS, deserializer=deserialize_trigger_list, serializer=json.dumps, value_type="json_trigger_value"
    )
    state._new_widget_state.set_widget_metadata(metadata)
    if sent is not None:
        widget = WidgetState(id=EVENTS, json_trigger_value=json.dumps(sent))
        state._new_widget_state.set_widget_from_proto(widget)
    return state


@pytest.mark.parametrize("sent", [None, [], CELL, [CELL], [CELL, PAINT]], ids=str)
@pytest.mark.parametrize("value", [{}, {"zoom": 2}, None, "text"], ids=str)
def test_the_value_is_the_one_that_streamlit_shows(sent: Any, value: Any) -> None:
    state = session(sent)
    assert presented.presenter(EVENTS)(value, state) == make_bidi_component_presenter(EVENTS)(value, state)


def test_events_are_shown_with_the_value() -> None:
    shown = presented.presenter(EVENTS)({"zoom": 2}, session([CELL, PAINT]))
    assert shown == {"zoom": 2, "cell": CELL["value"], "paint": "undo"}


def test_without_an_event_no_class_is_made() -> None:
    value = {"zoom": 2}
    assert presented.presenter(EVENTS)(value, session(None)) is value
    streamlits = make_bidi_component_presenter(EVENTS)(value, session(None))
    assert type(streamlits) is not dict, "Streamlit makes no class any more: delete mha_viz/ui/presented.py"


def test_of_a_component_that_was_not_drawn_the_value_is_shown() -> None:
    value = {"zoom": 2}
    assert presented.presenter(EVENTS)(value, SessionState()) is value


def test_components_are_shown_so_once_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "make_bidi_component_presenter", make_bidi_component_presenter)
    presented.install()
    assert vars(main)["make_bidi_component_presenter"] is presented.presenter
