"""Inside: every step of one head from input to output, with the numbers, and what moves when one is changed."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from mha_viz.attention.edits import parse
from mha_viz.errors import MhaVizError
from mha_viz.ui import (
    cached,
    inside_edits,
    inside_panels,
    inside_results,
    inside_source,
    panels,
    say,
    state,
    style,
    threads,
)
from mha_viz.ui.inside import Inside


@st.fragment
def inside() -> None:
    """Draw the steps and then the controls: a change reruns these and nothing else."""
    threads.settle()
    panels.messages()
    trace = None
    check: Callable[[str], object] = parse
    try:
        source = inside_source.source()
        inside_results.check(source)
        run = cached.run_with_spinner(source)
        view = state.view().within(run)
        check = partial(inside_results.traced, source, view.layer)
        trace = inside_panels.everything(source, run, state.chosen(Inside), view)
    except MhaVizError as error:
        say.error(error)
    with st.sidebar:
        inside_edits.form(trace, state.chosen(Inside), state.view(), check)
    inside_source.sidebar()
    state.publish()


style.write()
state.load()
inside()
