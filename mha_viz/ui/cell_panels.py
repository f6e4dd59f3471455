"""The chosen cell: the row that it stands in, and what its weight is made of."""

from __future__ import annotations

import streamlit as st

from mha_viz.attention import cell
from mha_viz.attention.runs import Run
from mha_viz.errors import MhaVizError
from mha_viz.figures import rows
from mha_viz.ui import plot, say, words
from mha_viz.ui.view import View


def made_of(run: Run, view: View) -> None:
    """Open the chosen cell: the row as bars, and the arithmetic from q·k to the weight where it can be done."""
    if view.query is None or view.key is None:
        return
    st.html(words.chosen(run, view.item, view.head, view.query, view.key, view.layer))
    left, right = st.columns([2, 3])
    with left:
        _arithmetic(run, view, view.query, view.key)
    with right:
        spec = rows.row(run, view.head, view.query, layer=view.layer, item=view.item, key=view.key)
        alt = f"Weights of query {view.query} over the keys, {run.layers[view.layer].head_name(view.head)}"
        plot.heatmaps(spec, key="row", alt=alt)


def _arithmetic(run: Run, view: View, query: int, key: int) -> None:
    try:
        row = cell.row(run, layer=view.layer, item=view.item, head=view.head, query=query)
    except MhaVizError as error:
        say.caption(error)
    else:
        st.html(words.arithmetic(row, key))
