"""The parts of a page that shows a long sequence: every head as blocks that are refined where somebody zooms in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import streamlit as st

from mha_viz.attention import stats
from mha_viz.attention.runs import Run
from mha_viz.figures import long
from mha_viz.figures.grammar import Scale, Spec
from mha_viz.figures.long_heads import Blocks, HeadPicture
from mha_viz.remember import remembered
from mha_viz.ui import (
    cached,
    controls,
    long_cell,
    long_finer,
    long_progress,
    long_share,
    long_words,
    origin,
    parts,
    plot,
    sizes,
    threads,
)
from mha_viz.ui.long_results import PICTURES, STATISTICS, Layer, together
from mha_viz.ui.origin import Origin
from mha_viz.ui.view import HEATMAP, View


def figures(source: Origin, run: Run, view: View) -> None:
    """Draw the heads, and one of them large once all are computed; `view` is within the run."""
    find = _finder(source, view)
    threads.step_aside()  # others need not wait for megabytes, which are drawn anew whenever a head is there
    found = long_progress.found(PICTURES, find)
    pictures(source, run, view, find, found)
    if None not in found:
        detail(source, run, view, find, [head for head in found if head is not None])


def boxes(source: Origin, run: Run, view: View) -> None:
    """Draw the chosen cell's row, and what costs nothing while it is closed."""
    find = _finder(source, view)
    threads.step_aside()
    long_cell.row(run, view)
    if None not in PICTURES.known(find()):
        statistics(find)
    long_share.downloads(source, run, view, find)


def layer_of(source: Origin, view: View) -> Layer:
    """Return the layer and item that are looked at, from the run that is kept for everyone."""
    streamed = cached.shown(source).layers[view.layer].streamed
    assert streamed is not None, "what is long is streamed"
    return Layer(origin.key(source), streamed, view.item)


def _finder(source: Origin, view: View) -> Callable[[], Layer]:
    """Return what finds the layer; callbacks and fragments, which outlive their page, hold this instead of it."""
    return lambda: layer_of(source, view)


def bar(run: Run, view: View) -> None:
    """Draw the choices of the view, and where to go."""
    controls.view_bar(run, view, show=False)
    if view.show != HEATMAP:
        st.caption(
            f"The view “{view.show}” draws every token, so it needs a shorter sequence (reduce query_len); here are "
            "the heatmaps."
        )
    long_cell.go_to(run.layers[view.layer].shape)


def pictures(source: Origin, run: Run, view: View, find: Callable[[], Layer], found: list[HeadPicture | None]) -> None:
    """Draw every head, those that are not computed yet as empty panels."""
    record, blocks = run.layers[view.layer], find().blocks
    names = tuple(record.head_name(head) for head in range(len(found)))
    goto = long_cell.wanted(record.shape)
    plot.heatmaps(
        _grid(find(), found, names, view.colours),
        key="long:grid",
        alt=f"Attention weights of {len(found)} heads as heatmaps of blocks",
        selected=view.cell(panel=view.head),
        on_cell=_choose("long:grid", source, view),
        filename="heads",
        heading=long_words.heading(run, view.layer),
        lines=[*plot.refined(blocks.side), *long_words.caption(found, blocks, record.extra_keys, view.colours)],
        finer=long_finer.of_grid(find, found, view.colours, long_words.names(run, view.layer, view.item)),
        goto=goto,
    )


def detail(source: Origin, run: Run, view: View, find: Callable[[], Layer], found: list[HeadPicture]) -> None:
    """Draw the chosen head large, beside the average over heads."""
    record, blocks = run.layers[view.layer], find().blocks
    names = tuple(record.head_name(head) for head in range(len(found)))
    plot.heatmaps(
        _detail(find(), found, names, view.colours, view.head),
        key="long:detail",
        alt=f"{names[view.head]} and the average over heads as heatmaps of blocks",
        selected=view.cell(panel=0),
        on_cell=_choose("long:detail", source, view),
        filename="detail",
        lines=[
            f"Of the average over heads, a cell shows the mean of {blocks.side} × {blocks.side} weights, with colours "
            "for their logs, since means are far smaller than single weights; zoom in for the average of each cell."
        ],
        finer=long_finer.of_detail(find, found, view.head, view.colours, long_words.names(run, view.layer, view.item)),
        goto=long_cell.wanted(record.shape),
    )


def _known_by(layer: Layer, found: Sequence[HeadPicture | None]) -> Hashable:
    return layer.key, layer.item, tuple(head is None for head in found)


# One object for all who look at one link: its message is then made once.
@remembered(64, key=lambda layer, found, *at: (_known_by(layer, found), at), size=sizes.figure_bytes)
def _grid(layer: Layer, found: Sequence[HeadPicture | None], names: tuple[str, ...], scale: Scale) -> Spec:
    return long.grid(found, names, layer.blocks, scale)


@remembered(64, key=lambda layer, found, *at: (_known_by(layer, found), at), size=sizes.figure_bytes)
def _detail(layer: Layer, found: Sequence[HeadPicture], names: tuple[str, ...], scale: Scale, head: int) -> Spec:
    return long.detail(found, head, names, layer.blocks, scale)


def _choose(key: str, source: Origin, view: View) -> Callable[[], None]:
    """Return what opens the cell that was chosen; of a block, its largest weight opens."""

    def choose() -> None:
        if (at := plot.clicked(key)) is None:
            return
        layer = cached.shown(source).layers[view.layer]  # asked for anew: a callback that held it would keep it alive
        head = at[0] if key == "long:grid" else view.head
        if head < layer.shape[1]:
            side = min(plot.clicked_side(key), Blocks.of(*layer.shape[2:], layer.shape[1]).side)
            query, column = stats.largest_in(layer, view.item, head, *at[1:], side)
            parts.look(head=head, query=query, key=column)

    return choose


def statistics(find: Callable[[], Layer]) -> None:
    """Write a small table of each head's entropy, mean distance and largest weight, once they are asked for."""
    box = st.expander("Head statistics", key="group:statistics", on_change="rerun")
    if not box.open:
        return
    with box:
        found = long_progress.found(STATISTICS, find, asked="Compute the statistics in another pass over all weights")
        known = [each for each in found if each is not None]
        if known:
            st.html(long_words.statistics([head for head, _ in known]))
        if len(known) == len(found):
            st.caption(long_words.summary(together([summary for _, summary in known])))
