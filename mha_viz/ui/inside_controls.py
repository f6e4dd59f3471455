"""The controls of the Inside page: going through the steps, by hand or by itself, and edits of what goes in."""

from __future__ import annotations

import time

import streamlit as st

from mha_viz import settings
from mha_viz.attention.runs import Run
from mha_viz.ui import controls, inside_steps, state
from mha_viz.ui.inside_steps import ALL, NAMES
from mha_viz.ui.view import View

PACE = 2.5
"""Seconds that a step stays on the screen while the page goes through them by itself."""

PLAYING, SHOWN = "w:inside:playing", "w:inside:shown"


def step_bar(run: Run, view: View) -> None:
    """Draw the way through the steps (back, play, forth, or any of them), and whose steps they are."""
    playing = bool(st.session_state.get(PLAYING))
    labels = {ALL: "All"} | {step.name: step.label for step in inside_steps.STEPS}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _go("Previous", view.step, -1)
        st.button("Pause" if playing else "Play", key="inside-play", on_click=_play, args=(not playing,), help=_PLAY)
        _go("Next", view.step, +1)
        _indices(run, view)
    st.session_state["w:view:step"] = view.step
    about = settings.metadata(View)["step"].help
    st.segmented_control(
        "step",
        NAMES,
        key="w:view:step",
        format_func=labels.__getitem__,
        required=True,
        on_change=_choose,
        help=about,
        label_visibility="collapsed",
    )
    if playing:
        st.session_state[SHOWN] = time.monotonic()
        _clock()


def _indices(run: Run, view: View) -> None:
    """Draw the choice of layer, head and batch item, where there are several."""
    items, heads = run.layers[view.layer].weights.shape[:2]
    for name, count in (("layer", len(run.layers)), ("head", heads), ("item", items)):
        if count > 1:
            controls.view_index(name, getattr(view, name), count)


_PLAY = f"Goes through all steps, {PACE:g} seconds each."


def _go(label: str, step: str, by: int) -> None:
    there = inside_steps.beyond(step, by)
    st.button(label, key=f"inside-{label.lower()}", on_click=_open, args=(there,), disabled=there is None)


def _open(step: str) -> None:
    st.session_state[PLAYING] = False
    state.look(step=step)


def _choose() -> None:
    _open(st.session_state["w:view:step"])


def _play(on: bool) -> None:
    st.session_state[PLAYING] = on
    if on and inside_steps.beyond(state.view().step, 1) is None:
        state.look(step=NAMES[1])  # from the end it starts again


@st.fragment(run_every=PACE)
def _clock() -> None:
    """Open the next step when the present one has been shown for long enough; it is drawn only while playing."""
    if not st.session_state.get(PLAYING) or time.monotonic() - st.session_state[SHOWN] < PACE / 2:
        return
    there = inside_steps.beyond(state.view().step, 1)
    if there is not None:
        state.look(step=there)
    st.session_state[PLAYING] = there is not None and inside_steps.beyond(there, 1) is not None
    st.rerun()
