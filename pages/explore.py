"""Explore: set up a layer, its inputs and masks, and see every head's real weights."""

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.ui import cached, controls, panels, state, style, threads


@st.fragment
def explore() -> None:
    """Draw the picture and then the controls: a change reruns these and nothing else, what changed first."""
    with threads.in_line():
        panels.messages()
        try:
            run = cached.shown(state.scenario())
        except MhaVizError as error:
            st.error(str(error))
        else:
            panels.everything(state.scenario(), run)
        controls.sidebar()
        state.publish()


style.write()
state.load()
explore()
