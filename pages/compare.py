"""Compare: two runs side by side, the difference between them, and the cells that moved most."""

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.ui import compare_controls, compare_panels, compare_sides, panels, say, state, style, threads


@st.fragment
def compare() -> None:
    """Draw what differs and then the controls: a change reruns these and nothing else."""
    threads.settle()
    panels.messages()
    try:
        compare_panels.everything(compare_sides.asked(state.chosen))
    except MhaVizError as error:
        say.error(error)
    compare_controls.sidebar()
    state.publish()


style.write()
state.load()
compare()
