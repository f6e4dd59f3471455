"""Explore: set up a layer, its inputs and masks, and see every head's real weights."""

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.ui import cached, controls, panels, state


@st.fragment(key=state.CONTROLS)
def settings() -> None:
    """Draw the settings; changing one reruns the picture alone, unless other controls change with it."""
    controls.settings_panel()


@st.fragment(key=state.PICTURE)
def picture() -> None:
    """Draw everything that depends on the run."""
    panels.messages()
    try:
        run = cached.run_with_spinner(state.scenario())
    except MhaVizError as error:
        st.error(str(error))
        return
    view = state.view().within(*run.layers[0].weights.shape)
    panels.headline(run)
    controls.view_bar(run, view)
    panels.pictures(run, view)
    panels.detail(run, view)
    panels.made_of(run, view)
    panels.statistics(run, view)
    panels.downloads(run, view)
    state.publish()


state.load()
with st.sidebar:
    settings()
picture()
