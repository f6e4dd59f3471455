"""Explore: set up a layer, its inputs and masks, and see every head's real weights."""

import time

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.ui import controls, panels, parts, say, state, style, threads


@st.fragment(key=parts.PICTURE)
def picture() -> None:
    """Draw the figures."""
    with threads.in_line():
        panels.messages()
        try:
            run = parts.run()
        except MhaVizError as error:
            say.error(error)
        else:
            panels.figures(state.scenario(), run)
        state.publish()


@st.fragment(key=parts.BAR)
def bar() -> None:
    """Draw the choices of what is shown."""
    parts.around(parts.BAR, lambda _, run: panels.bar(run))


@st.fragment(key=parts.BOXES)
def boxes() -> None:
    """Draw what there is to say of the chosen cell and of the run."""
    parts.around(parts.BOXES, panels.boxes)


@st.fragment(key=parts.CONTROLS)
def settings() -> None:
    """Draw the controls, after the picture."""
    if not parts.alone():
        time.sleep(parts.PAUSE)
    with threads.in_line():
        controls.sidebar()


style.write()
state.load()
top = st.container()
picture()
with top:
    bar()
boxes()
settings()
