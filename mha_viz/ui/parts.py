"""The two parts of Explore, the picture and the controls beside it: a change draws again only what it touches.

There are many controls, and most changes leave all of them as they are. Streamlit draws the part again that holds the
control which was changed, and takes away what is not sent again; a callback can end its run and name other parts
instead, at the price of a second run.
"""

from __future__ import annotations

from contextlib import suppress

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mha_viz.ui import state

PICTURE, CONTROLS = "picture", "controls"
"""Keys of the fragments, in the order in which they are drawn."""
PAUSE = 0.04
"""Seconds between figures and controls, in which the browser paints before it takes in what is mostly unchanged."""


def redraw(*keys: str) -> None:
    """End a callback or a part, and draw these parts again in this order, and nothing else.

    On pages that have no parts, and where the whole page is drawn anyway, the caller goes on.
    """
    if _asked_for():
        with suppress(StreamlitAPIException):  # a page that has no parts of these names
            st.rerun(list(keys))


def change(name: str, value: object, typed: object) -> None:
    """Change a setting from its control and draw what shows it; to be called last in a callback.

    Args:
        name: The setting.
        value: What it is to be.
        typed: What its control shows.
    """
    expected, can_redo = {**state.all_shown(), name: typed}, state.undone()
    state.change(**{name: value})  # after which nothing can be redone
    same = state.all_shown() == expected and name not in state.DECISIVE and not can_redo
    redraw(PICTURE, *([] if same else [CONTROLS]))


def alone() -> bool:
    """Return whether this run draws a single part."""
    return len(_asked_for()) == 1


def _asked_for() -> list[str]:
    """Return the fragments that are drawn in this run; none if that is the whole page."""
    context = get_script_run_ctx(suppress_warning=True)
    return list(context.fragment_ids_this_run or ()) if context is not None else []
