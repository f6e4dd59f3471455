"""The parts of Explore: the picture, what stands around it, and the controls; a change draws only what it touches.

Streamlit draws the part again that holds the control which was changed, and takes away what is not sent again; a
callback can end its run and name other parts instead, at the price of a second run. Each control costs server and
browser about a millisecond, and most changes leave all of them as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import streamlit as st
from streamlit.errors import StreamlitAPIException
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mha_viz.attention.runs import Run
from mha_viz.errors import MhaVizError
from mha_viz.inputs.assemble import sizes
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, state, threads

PICTURE, BAR, BOXES, CONTROLS = "picture", "bar", "boxes", "controls"
"""Keys of the fragments, in the order in which they are drawn: the bar stands above the picture, the boxes below."""
ALL = (PICTURE, BAR, BOXES, CONTROLS)
PAUSE = 0.04
"""Seconds between figures and controls, in which the browser paints before it takes in what is mostly unchanged."""

_LEADING = ("show", "layer")
"""Choices of the bar that decide which others it has."""

_page = threading.local()  # of the thread that draws the parts one after the other, and then ends


def run(*, again: bool = True) -> Run:
    """Return the run of the session's Scenario; errors as of `cached.shown`.

    Args:
        again: Whether to ask for what this thread has shown last again. The parts around the picture need not: it may
            be too large to be kept, or have failed after a while.
    """
    source = state.scenario()
    if again or getattr(_page, "source", None) != source:
        _page.source, _page.found = source, _outcome(source)
    if isinstance(_page.found, MhaVizError):
        raise _page.found
    found: Run = _page.found
    return found


def _outcome(source: Scenario) -> Run | MhaVizError:
    try:
        return cached.shown(source)
    except MhaVizError as error:
        return error


def around(key: str, draw: Callable[[Scenario, Run], None]) -> None:
    """Draw a part beside the picture, or nothing if there is no run, and remember for what it was drawn.

    Args:
        key: The part.
        draw: Draws it.
    """
    state.drew(key, None)
    with threads.in_line(), suppress(MhaVizError):  # the picture says what is wrong
        draw(state.scenario(), run(again=False))
        state.drew(key, _outline(state.scenario()))


def redraw(*keys: str) -> None:
    """End a callback, and draw these parts again in this order, and nothing else.

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
    redraw(PICTURE, *_outdated(), *([] if same else [CONTROLS]))


def look(*, typed: str = "", **values: object) -> None:
    """Change the View and draw what shows it; to be called last in a callback.

    Args:
        typed: The choice whose control in the bar shows the new value already.
        values: What is to be shown.
    """
    state.look(**values)
    outdated = _outdated()
    if typed in ("", *_LEADING) and BAR not in outdated:
        outdated.insert(0, BAR)
    redraw(PICTURE, *outdated)


def _outdated() -> list[str]:
    """Return the parts around the picture that may not show what they would if they were drawn now."""
    outline = _outline(state.scenario())
    good = {key for key in (BAR, BOXES) if outline is not None and state.drawn(key) == outline}
    if state.view().query is not None or state.is_box_open():  # what they show follows every change
        good.discard(BOXES)
    return [key for key in (BAR, BOXES) if key not in good]


def _outline(s: Scenario) -> tuple[object, ...] | None:
    """Return what the choices around a picture depend on, or None where it cannot be told."""
    with suppress(MhaVizError):
        size = sizes(s)
        keys = size.key_len + s.add_bias_kv + s.add_zero_attn
        return s.stack, s.num_layers, s.num_heads, size.batch_size, (size.query_len, keys) * cached.is_long(s)
    return None


def alone() -> bool:
    """Return whether this run draws a single part."""
    return len(_asked_for()) == 1


def _asked_for() -> list[str]:
    """Return the fragments that are drawn in this run; none if that is the whole page."""
    context = get_script_run_ctx(suppress_warning=True)
    return list(context.fragment_ids_this_run or ()) if context is not None else []
