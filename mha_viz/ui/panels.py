"""The parts of the Explore page that depend on a Run; each draws one thing."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

from mha_viz import export, figures
from mha_viz.attention import cell, stats
from mha_viz.attention.records import Run
from mha_viz.errors import MhaVizError
from mha_viz.figures import rows
from mha_viz.figures.grammar import Spec
from mha_viz.ui import cached, controls, plot, state, words
from mha_viz.ui.view import HEATMAP, LINES, View

PAUSE = 0.04
"""Seconds between the figures and the rest, in which the browser paints them before it takes in unchanged widgets."""


def messages() -> None:
    """Say what of the link could not be used, and why the last change could not be made."""
    for note in state.notes():
        st.info(note)
    if state.problem():
        st.error(state.problem())


def everything(run: Run) -> None:
    """Draw all that depends on the run; the figures are sent first, so that they are painted first."""
    view = state.view().within(*run.layers[0].weights.shape)
    top = st.container()
    pictures(run, view)
    detail(view)
    time.sleep(PAUSE)
    with top:
        controls.view_bar(run, view)
    made_of(run, view)
    statistics(run, view)
    downloads(run, view)


def pictures(run: Run, view: View) -> None:
    """Draw what the view asks for, between the headline and the caption: heatmaps, lines, or shaded tokens."""
    heading, lines = words.headline(run), cached.caption(state.scenario(), view.item)
    if view.show == HEATMAP:
        spec = cached.head_grid(state.scenario(), view.item, view.colours)
        alt = f"Attention weights of {run.layers[0].weights.shape[1]} heads as heatmaps"
        _clickable("grid", view, spec, panel=view.head, alt=alt, heading=heading, lines=lines)
    elif view.show == LINES:
        spec = rows.links(run, view.head, item=view.item, query=view.query)
        alt = f"Lines from query tokens to key tokens, head {view.head}"
        plot.heatmaps(spec, key="links", alt=alt, filename="lines", heading=heading, lines=lines)
    else:
        st.text(heading)
        tokens(run, view)
        for line in lines:
            st.caption(line)


def detail(view: View) -> None:
    """Draw the average, the chosen head and its mask side by side."""
    spec = cached.detail(state.scenario(), view.head, view.item, view.colours)
    hint = ["Click a cell to see what its weight is made of."] if view.cell(panel=1) is None else []
    alt = f"The average over heads, head {view.head}, and its mask"
    _clickable("detail", view, spec, panel=1, alt=alt, heading="", lines=hint)


def _clickable(key: str, view: View, spec: Spec, *, panel: int, alt: str, heading: str, lines: list[str]) -> None:
    """Draw heatmaps whose cells open when they are chosen; of a pooled block, its largest weight opens."""
    pool = spec["layout"]["meta"]["pool"]
    pooled = [f"Each cell shows the largest of {pool} × {pool} weights; choose a cell to open it."]

    def choose() -> None:
        if (found := plot.clicked(key)) is None:
            return
        layer = cached.run(state.scenario()).layers[0]  # asked for anew: a callback that held it would keep it alive
        head = found[0] if key == "grid" else view.head
        if head < layer.weights.shape[1]:
            query, at = stats.largest_in(layer, view.item, head, found[1] * pool, found[2] * pool, pool)
            state.look(head=head, query=query, key=at)

    plot.heatmaps(
        spec,
        key=key,
        alt=alt,
        selected=view.cell(panel=panel, pool=pool),
        on_cell=choose,
        filename=key,
        heading=heading,
        lines=[*lines, *pooled * (pool > 1)],
    )


def tokens(run: Run, view: View) -> None:
    """Write the key tokens, shaded by how much the chosen query attends to each."""
    labels = [f"{i}  {name}" for i, name in enumerate(run.query_tokens(view.item))]
    query = min(view.query or 0, len(labels) - 1)
    st.session_state["w:token"] = labels[query]

    def choose() -> None:
        state.look(query=labels.index(st.session_state["w:token"]), key=state.view().key or 0)

    about = "The token whose weights shade the text."
    st.selectbox("query token", labels, key="w:token", on_change=choose, help=about)
    weights = run.layers[0].weights[view.item, view.head, query].float().tolist()
    st.html(words.shaded(run.key_tokens(view.item), weights))


def made_of(run: Run, view: View) -> None:
    """Open the chosen cell: the row as bars, and the arithmetic from q·k to the weight."""
    if view.query is None or view.key is None:
        return
    row = cell.row(run, item=view.item, head=view.head, query=view.query)
    st.html(words.chosen(run, view.item, view.head, view.query, view.key))
    left, right = st.columns([2, 3])
    left.html(words.arithmetic(row, view.key))
    with right:
        spec = rows.row(run, view.head, view.query, item=view.item, key=view.key)
        plot.heatmaps(spec, key="row", alt=f"Weights of query {view.query} over the keys, head {view.head}")


def statistics(run: Run, view: View) -> None:
    """Write a small table of each head's entropy, mean distance and largest weight."""
    box = st.expander("Head statistics", key="group:statistics", on_change="rerun")
    if box.open:
        box.html(words.statistics(run, view.item))


def downloads(run: Run, view: View) -> None:
    """Offer the weights, the figure, the script and the link; nothing is made before it is asked for."""
    box = st.expander("Download and share", key="group:share", on_change="rerun")
    if not box.open:
        return
    assert run.scenario is not None
    scenario = run.scenario
    with box:
        with st.container(horizontal=True):
            _download(
                "weights .npz", lambda: export.npz(cached.run(scenario)), "attention.npz", "application/octet-stream"
            )
            _download(
                "weights .csv",
                lambda: export.csv_text(cached.run(scenario), item=view.item),
                "attention.csv",
                "text/csv",
            )
            _download("script .py", lambda: export.script(scenario), "attention.py", "text/x-python")
            _download("figure .html", lambda: _web_page(cached.run(scenario), view), "attention.html", "text/html")
        st.caption("PNG and SVG: the buttons above each figure. This page's address reopens exactly this:")
        st.code("?" + state.link(), language=None, wrap_lines=True)
        try:
            st.code(export.script(scenario), language="python")
        except MhaVizError as error:
            st.caption(str(error))


def _web_page(run: Run, view: View) -> str:
    return str(figures.head_grid(run, item=view.item, scale=view.colours).to_html(include_plotlyjs=True))


def _download(label: str, make: Callable[[], str | bytes], name: str, kind: str) -> None:
    st.download_button(label, make, file_name=name, mime=kind, on_click="ignore")
