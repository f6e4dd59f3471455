"""The chosen cell of a long sequence, with its whole row of exact weights, and the way to any cell."""

from __future__ import annotations

import streamlit as st

from mha_viz.attention.runs import Run
from mha_viz.errors import MhaVizError
from mha_viz.figures import long, long_heads
from mha_viz.ui import long_words, parts, plot, say, state
from mha_viz.ui.view import View

QUERY, KEY = "w:goto:query", "w:goto:key"

Shape = tuple[int, int, int, int]


def go_to(shape: Shape) -> None:
    """Draw two numbers and a button that opens and shows the cell of this query and key."""
    ends = shape[2:]
    for name, end in zip((QUERY, KEY), ends, strict=True):
        if (st.session_state.get(name) or 0) >= end:
            st.session_state[name] = None  # left from a longer sequence
    with (
        st.form("w:goto", border=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        st.number_input(
            "go to query", 0, ends[0] - 1, value=None, key=QUERY, placeholder=f"0 … {ends[0] - 1}", width=165
        )
        st.number_input("and key", 0, ends[1] - 1, value=None, key=KEY, placeholder="the same", width=165)
        st.form_submit_button("Go", on_click=_go, args=(shape,))


def wanted(shape: Shape) -> tuple[int, int, int] | None:
    """Return query and key of the cell to go to, and how often somebody has gone; a number alone stands for both."""
    asked = [st.session_state.get(name) for name in (QUERY, KEY)]
    given = [number for number in asked if number is not None]
    if not given:
        return None
    query, key = (int(given[0]) if number is None else int(number) for number in asked)
    return min(query, shape[2] - 1), min(key, shape[3] - 1), state.times_gone()


def _go(shape: Shape) -> None:
    if (cell := wanted(shape)) is not None:
        state.go(query=cell[0], key=cell[1])
        parts.redraw(parts.PICTURE, parts.BOXES)


def row(run: Run, view: View) -> None:
    """Open the chosen cell: its weight, the largest weights of its row, and the row as bars."""
    if view.query is None or view.key is None:
        return
    layer = run.layers[view.layer]
    try:
        weights = long_heads.floats(layer.row(view.head, view.query, view.item))
    except MhaVizError as error:
        say.caption(error)
        return
    keys = run.key_tokens(view.item, view.layer)
    named = run.query_tokens(view.item, view.layer)[view.query], keys[view.key]
    weight = float(weights[view.key])
    st.html(long_words.chosen(layer.head_name(view.head), view.query, view.key, weight, named))
    if weight != weight:
        return
    left, right = st.columns([2, 3])
    with left:
        numbered = not long_words.names(run, view.layer, view.item)[1]
        st.html(long_words.largest(weights, view.key, () if numbered else keys))
    with right:
        alt = f"Weights of query {view.query} over the keys, {layer.head_name(view.head)}"
        plot.heatmaps(long.row(weights, view.key), key="row", alt=alt, filename="row")
