"""What `st.session_state` shows of a component, without a new class at each look.

Streamlit 1.67 defines a dict class whenever it shows a component's value, six times in a change of the Explore page:
a quarter of what the garbage collector then walks, with everybody waiting. It is there to join events to the value and
to take assignments; where the browser has sent no event, the value is shown as it is. Assignments are then lost: the
pages make none.
"""

from __future__ import annotations

from streamlit.components.v2 import presentation
from streamlit.components.v2.bidi_component import main
from streamlit.runtime.state.common import WidgetValuePresenter
from streamlit.runtime.state.session_state import SessionState


def install() -> None:
    """Show the value of every component that is drawn from now on by `presenter`."""
    main.make_bidi_component_presenter = presenter  # type: ignore[attr-defined]  # there is no public way


def presenter(
    aggregator_id: str, component_id: str | None = None, allowed_state_keys: set[str] | None = None
) -> WidgetValuePresenter:
    """Return what shows one component's value; the arguments are those of Streamlit's function."""
    with_events = presentation.make_bidi_component_presenter(aggregator_id, component_id, allowed_state_keys)

    def present(value: object, session_state: SessionState) -> object:
        return with_events(value, session_state) if session_state._new_widget_state.get(aggregator_id) else value

    return present
