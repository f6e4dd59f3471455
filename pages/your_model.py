"""Your model: a run file, a pretrained model, or a capture of your own code."""

import time

import streamlit as st

from mha_viz.ui import model_controls, model_panels, panels, parts, state, style, threads


@st.fragment
def your_model() -> None:
    """Draw the run and then the controls: a change reruns these and nothing else."""
    threads.settle()
    panels.messages()
    wanting = model_panels.everything()
    time.sleep(parts.PAUSE)
    model_controls.sidebar(wanting)
    state.publish()


style.write()
state.load()
your_model()
