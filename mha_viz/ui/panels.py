"""The parts of a page that shows a Run; each draws one thing."""

from __future__ import annotations

import streamlit as st

from mha_viz.attention import stats
from mha_viz.attention.runs import Run
from mha_viz.figures import rows
from mha_viz.figures.grammar import Spec
from mha_viz.figures.mosaic import layer_at, outlined
from mha_viz.ui import (
    cached,
    cell_panels,
    controls,
    depth_panels,
    held_finer,
    long_panels,
    parts,
    plot,
    say,
    share_panels,
    state,
    words,
)
from mha_viz.ui.finer import Finer
from mha_viz.ui.origin import Origin
from mha_viz.ui.view import HEATMAP, LINES, View


def messages() -> None:
    """Say what of the link could not be used, and why the last change could not be made."""
    for note in state.notes():
        say.info(note)
    if state.problem():
        say.error(state.problem())


def everything(source: Origin, run: Run) -> None:
    """Draw all that depends on the run; the figures are sent first, so that they are painted first."""
    top = st.container()
    figures(source, run)
    with top:
        bar(run)
    boxes(source, run)


def bar(run: Run) -> None:
    """Draw the choices of the view."""
    view = state.view().within(run)
    if _is_long(run, view):
        long_panels.bar(run, view)
    else:
        controls.view_bar(run, view)


def figures(source: Origin, run: Run) -> None:
    """Draw the layers at a glance if there are several, the heads of one, and one head large."""
    view = state.view().within(run)
    if _is_long(run, view):
        long_panels.figures(source, run, view)
        return
    if len(run.layers) > 1:
        overview(source, run, view)
    pictures(source, run, view)
    detail(source, run, view)


def boxes(source: Origin, run: Run) -> None:
    """Draw the chosen cell, and what costs nothing while it is closed."""
    view = state.view().within(run)
    if _is_long(run, view):
        long_panels.boxes(source, run, view)
        return
    cell_panels.made_of(run, view)
    if len(run.layers) > 1 or run.norms:
        depth_panels.depth(source, run, view)
    statistics(run, view)
    share_panels.downloads(source, run, view)


def _is_long(run: Run, view: View) -> bool:
    return run.layers[view.layer].streamed is not None


def overview(source: Origin, run: Run, view: View) -> None:
    """Draw all layers and heads at a glance; a click opens one."""
    spec = cached.overview(source, view.item, view.colours)

    def choose() -> None:
        if (found := plot.clicked("overview")) is None:
            return
        opened = layer_at(spec["layout"]["meta"], *found[1:])
        if opened is not None:
            parts.look(layer=opened[0], head=opened[1])

    plot.heatmaps(
        outlined(spec, view.layer, view.head),
        key="overview",
        alt=f"{len(run.layers)} attention layers and their heads as small heatmaps",
        on_cell=choose,
        filename="layers",
        heading=run.name,
        lines=[*run.notes, "Click a picture to open that layer and head."],
    )


def pictures(source: Origin, run: Run, view: View) -> None:
    """Draw what the view asks for, between the headline and the caption: heatmaps, lines, or shaded tokens."""
    heading, lines = words.headline(run, view.layer), cached.caption(source, view.layer, view.item)
    record = run.layers[view.layer]
    if view.show == HEATMAP:
        spec = cached.head_grid(source, view.layer, view.item, view.colours)
        alt = f"Attention weights of {record.weights.shape[1]} heads as heatmaps"
        finer = held_finer.of_grid(source, run, view, spec)
        said = [*lines, *plot.refined(finer.side)]
        _clickable("grid", source, view, spec, finer, panel=view.head, alt=alt, heading=heading, lines=said)
    elif view.show == LINES:
        spec = rows.links(run, view.head, layer=view.layer, item=view.item, query=view.query)
        alt = f"Lines from query tokens to key tokens, {record.head_name(view.head)}"
        plot.heatmaps(spec, key="links", alt=alt, filename="lines", heading=heading, lines=lines)
    else:
        st.text(heading)
        tokens(run, view)
        for line in lines:
            say.caption(line)


def detail(source: Origin, run: Run, view: View) -> None:
    """Draw the average, the chosen head and its mask side by side."""
    spec = cached.detail(source, view.layer, view.head, view.item, view.colours)
    finer = held_finer.of_detail(source, run, view, spec)
    hint = ["Click a cell to see what its weight is made of."] if view.cell(panel=1) is None else []
    alt = f"The average over heads, {run.layers[view.layer].head_name(view.head)}, and its mask"
    _clickable("detail", source, view, spec, finer, panel=1, alt=alt, heading="", lines=hint)


def _clickable(
    key: str,
    source: Origin,
    view: View,
    spec: Spec,
    finer: Finer,
    *,
    panel: int,
    alt: str,
    heading: str,
    lines: list[str],
) -> None:
    """Draw heatmaps whose cells open when they are chosen; of a block, its largest weight opens."""

    def choose() -> None:
        if (found := plot.clicked(key)) is None:
            return
        layer = cached.run(source).layers[view.layer]  # asked for anew: a callback that held it would keep it alive
        head = found[0] if key == "grid" else view.head
        if head < layer.weights.shape[1]:
            side = min(plot.clicked_side(key), finer.side)
            query, at = stats.largest_in(layer, view.item, head, *found[1:], side)
            parts.look(head=head, query=query, key=at)

    plot.heatmaps(
        spec,
        key=key,
        alt=alt,
        selected=view.cell(panel=panel),
        on_cell=choose,
        filename=key,
        heading=heading,
        lines=lines,
        finer=finer,
    )


def tokens(run: Run, view: View) -> None:
    """Write the key tokens, shaded by how much the chosen query attends to each."""
    labels = [f"{i}  {name}" for i, name in enumerate(run.query_tokens(view.item, view.layer))]
    query = min(view.query or 0, len(labels) - 1)
    st.session_state["w:token"] = labels[query]

    def choose() -> None:
        parts.look(query=labels.index(st.session_state["w:token"]), key=state.view().key or 0)

    about = "The token whose weights shade the text."
    st.selectbox("query token", labels, key="w:token", on_change=choose, help=about)
    weights = run.layers[view.layer].weights[view.item, view.head, query].float().tolist()
    st.html(words.shaded(run.key_tokens(view.item, view.layer), weights))


def statistics(run: Run, view: View) -> None:
    """Write a small table of each head's entropy, mean distance and largest weight."""
    box = st.expander("Head statistics", key="group:statistics", on_change="rerun")
    if box.open:
        box.html(words.statistics(run, view.item, view.layer))
