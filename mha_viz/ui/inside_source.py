"""Whose layer the Inside page shows: that of Explore's settings, or one of what the page Your model shows."""

from __future__ import annotations

import streamlit as st

from mha_viz import settings
from mha_viz.errors import InputError
from mha_viz.ui import controls, state
from mha_viz.ui.inside import EXPLORE, MODEL, Inside
from mha_viz.ui.model_choice import WayIn
from mha_viz.ui.origin import Origin

TITLES = {EXPLORE: "Explore", MODEL: "Your model"}


def source() -> Origin:
    """Return what the page shows a layer of.

    Raises:
        InputError: The page Your model has nothing to show.
    """
    if state.chosen(Inside).inside_of == EXPLORE:
        return state.scenario()
    found = state.chosen(WayIn).origin(state.chosen)
    if found is None:
        raise InputError("The page Your model must show a run for this, but nothing was brought there yet.")
    return found


def sidebar() -> None:
    """Draw whose layer it is, and Explore's settings where it is theirs."""
    inside = state.chosen(Inside)
    with st.sidebar:
        if inside.inside_of != EXPLORE or state.chosen(WayIn).origin(state.chosen) is not None:
            _choice(inside)
    if inside.inside_of == EXPLORE:
        controls.sidebar()
        return
    with st.sidebar:
        controls.history()


def _choice(inside: Inside) -> None:
    about = settings.metadata(Inside)["inside_of"]
    st.session_state["w:inside_of"] = inside.inside_of

    def choose() -> None:
        state.bring(Inside, inside_of=st.session_state["w:inside_of"], edits="")

    st.radio(about.label, list(TITLES), key="w:inside_of", format_func=TITLES.__getitem__, on_change=choose)


def door(traceable: bool) -> None:
    """Offer, on the page Your model, to go inside the layer that is shown."""
    if not traceable:
        return

    def enter() -> None:
        state.bring(Inside, inside_of=MODEL, edits="")

    if st.button("See every step inside this layer", key="go-inside", on_click=enter):
        st.switch_page("pages/inside.py")
