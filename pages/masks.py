"""Masks: what a mask does beside what was intended, what is wrong with it, and the right code."""

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.ui import mask_controls, mask_panels, panels, say, state, style, threads


@st.fragment
def masks() -> None:
    """Draw what was found and then the controls: a change reruns these and nothing else."""
    threads.settle()
    panels.messages()
    try:
        mask_panels.everything(state.scenario().alone, state.given())
    except MhaVizError as error:
        say.error(error)
    mask_controls.sidebar()
    state.publish()


style.write()
state.load()
masks()
