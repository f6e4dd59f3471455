"""Explore: set up a layer, its inputs and masks, and see every head's real weights."""

import time

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.ui import cached, controls, panels, parts, say, state, style, threads


@st.fragment(key=parts.PICTURE)
def picture() -> None:
    """Draw all that depends on the run."""
    with threads.in_line():
        panels.messages()
        try:
            run = cached.shown(state.scenario())
        except MhaVizError as error:
            say.error(error)
        else:
            panels.everything(state.scenario(), run)
        state.publish()


@st.fragment(key=parts.CONTROLS)
def settings() -> None:
    """Draw the controls, after the picture."""
    if not parts.alone():
        time.sleep(parts.PAUSE)
    with threads.in_line():
        controls.sidebar()


style.write()
state.load()
picture()
settings()
