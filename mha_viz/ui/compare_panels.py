"""The parts of the Compare page that depend on what is compared; each draws one thing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from mha_viz.attention.compare import Comparison, Moved
from mha_viz.figures.compare import compared, compared_panels, labels, rows
from mha_viz.ui import (
    compare_files,
    compare_sides,
    compare_view,
    compare_words,
    held_finer,
    parts,
    plot,
    say,
    share_panels,
    state,
)
from mha_viz.ui.compare_sides import Compared
from mha_viz.ui.pair import KINDS, Pair
from mha_viz.ui.view import View

FIGURE, TABLE = "compare", "w:moved"
MOST = 10


def everything(pair: Pair) -> None:
    """Draw all that depends on the two sides; the figure is sent first, so that it is painted first."""
    with st.spinner("Running both sides", show_time=True):  # seen only where it takes a while
        of = compare_sides.compared(pair, state.view(), state.chosen)
    view = _within(of.found, state.view())
    top = st.container()
    picture(pair, of, view)
    time.sleep(parts.PAUSE)
    with top:
        compare_view.bar(of.found, pair)
    cells = of.found.moved(MOST)
    left, right = st.columns([5, 6])
    if cells:
        with left:
            moved(of.found, cells)
    with right:
        chosen(of, view, cells)
    downloads(pair)


def again(pair: Pair) -> Callable[[], Comparison]:
    """Return what makes the comparison anew, for what is asked for after the page was drawn.

    It holds settings alone: held runs would stay in memory, and a download runs outside the session.
    """
    held: dict[type, Any] = {kind: state.chosen(kind) for kind in KINDS.values()}
    view = state.view()
    return lambda: compare_sides.compared(pair, view, held.__getitem__).found


def _within(found: Comparison, view: View) -> View:
    """Return the view without a chosen cell that the two sides do not have."""
    length, keys = found.change.shape
    inside = view.query is not None and view.key is not None and view.query < length and view.key < keys
    return view if inside else View(scale=view.scale)


def picture(pair: Pair, of: Compared, view: View) -> None:
    """Draw the left, the right and the difference; of a pooled block, the cell that moved most opens."""
    names = compare_words.titles(of)
    spec = compared(of.found, names=names, scale=view.colours)
    made_anew = again(pair)
    finer = held_finer.of(
        lambda: compared_panels(made_anew(), names=names, scale=view.colours),
        spec,
        labels(of.found),
        compare_sides.key(pair, view, state.chosen),
    )

    def choose() -> None:
        if (cell := plot.clicked(FIGURE)) is not None:
            query, key = made_anew().largest_in(*cell[1:], min(plot.clicked_side(FIGURE), finer.side))
            state.look(query=query, key=key)

    plot.heatmaps(
        spec,
        key=FIGURE,
        alt=f"Attention weights, {' and '.join(names)}, and the difference",
        marked=None if view.query is None or view.key is None else {"query": view.query, "key": view.key},
        on_cell=choose,
        filename="compare",
        heading=compare_words.headline(of),
        lines=[*compare_words.summary(of.found), *plot.refined(finer.side, "weights and changes")],
        finer=finer,
    )


def moved(found: Comparison, cells: tuple[Moved, ...]) -> None:
    """Write the cells that moved most; a click on a row chooses its cell."""
    st.markdown("**Cells that moved most**")

    def choose() -> None:
        picked = st.session_state[TABLE]["selection"]["cells"]
        if picked and picked[0][0] < len(cells):
            cell = cells[picked[0][0]]
            state.look(query=cell.query, key=cell.key)

    numbers = {name: st.column_config.NumberColumn(format="%.4f") for name in compare_sides.NAMES}
    st.dataframe(
        compare_words.rows(found, cells),
        key=TABLE,
        hide_index=True,
        on_select=choose,
        selection_mode="single-cell",
        column_config={**numbers, "change": st.column_config.NumberColumn("right − left", format="%+.4f")},
    )


def chosen(of: Compared, view: View, cells: tuple[Moved, ...]) -> None:
    """Say what a cell is on both sides, and draw its row: the chosen cell, or else the one that moved most."""
    if view.query is not None and view.key is not None:
        query, key = view.query, view.key
    elif cells:
        query, key = cells[0].query, cells[0].key
    else:
        return
    st.markdown(f"**{say.plain(compare_words.place(of.found, query, key))}**")
    spec = rows(of.found, query, names=compare_words.titles(of), key=key)
    said = compare_words.cell(of.found, query, key)
    alt = f"Weights of query {query} over the keys, left and right"
    hint = "Click a cell of the pictures or a row of the table to see another."
    plot.heatmaps(spec, key="compare-row", alt=alt, filename="row", lines=[said, hint])


def downloads(pair: Pair) -> None:
    """Offer the difference as files, and the link."""
    box = st.expander("Download and share", key="group:share", on_change="rerun")
    if not box.open:
        return
    made_anew = again(pair)
    with box:
        with st.container(horizontal=True):
            _download(".npz", lambda: compare_files.npz(made_anew()), share_panels.BINARY)
            _download(".csv", lambda: compare_files.csv_text(made_anew()), "text/csv")
        st.caption("PNG and SVG: the buttons above the figure. This page's address reopens exactly this:")
        st.code("?" + state.link(), language=None, wrap_lines=True)


def _download(suffix: str, make: Callable[[], str | bytes], kind: str) -> None:
    name = f"difference{suffix}"
    st.download_button(f"difference {suffix}", make, file_name=name, mime=kind, on_click="ignore")
