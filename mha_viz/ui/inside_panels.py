"""The parts of the Inside page that show a trace; each draws one thing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from mha_viz.attention.runs import Run
from mha_viz.attention.trace import Trace
from mha_viz.errors import MhaVizError
from mha_viz.figures.grammar import Spec
from mha_viz.ui import (
    inside_controls,
    inside_edits,
    inside_figures,
    inside_results,
    inside_steps,
    inside_words,
    plot,
    say,
    state,
    words,
)
from mha_viz.ui.inside import Inside
from mha_viz.ui.origin import Origin
from mha_viz.ui.view import View

STEP, HINTED = "inside-step", "inside-weights"
HINT = "Point at a cell to follow its query and its key through all pictures; click it to see its arithmetic."


@dataclass(frozen=True, eq=False)
class Shown:
    """What every part of the page shows: one layer's trace with the edits that fit it."""

    source: Origin
    edits: str
    view: View
    trace: Trace


def everything(source: Origin, run: Run, inside: Inside, view: View) -> Trace:
    """Draw all that depends on the trace, and return it; edits that do not fit the layer are said and left out."""
    try:
        trace = inside_results.traced(source, view.layer, inside.edits)
        shown = Shown(source, inside.edits, view, trace)
    except MhaVizError as error:
        if not inside.edits:
            raise
        if not state.problem():  # which is about newer edits
            say.error(error)
        shown = Shown(source, "", view, inside_results.traced(source, view.layer))
    inside_controls.step_bar(run, view)
    step(shown)
    if shown.edits:
        moved(shown)
    if view.query is not None and view.key is not None:
        cell(shown, run, view.query, view.key)
    for key, (heading, names) in inside_steps.OVERVIEW.items():
        overview(shown, key, heading, names)
    st.caption(inside_words.proof(shown.trace))
    return shown.trace


def step(shown: Shown) -> None:
    """Draw the step that is opened: what it does, its formula, and what it turns into what."""
    found = inside_steps.named(shown.view.step)
    if found is None:
        return
    st.subheader(found.title)
    st.markdown(found.sentence)
    st.latex(inside_words.formula(shown.trace, found.after))
    names = (*found.before, *found.after)
    _figure(shown, STEP, names, alt=f"{found.title}: {', '.join(names)}", change=shown.view.change)


def moved(shown: Shown) -> None:
    """Say what the edits moved, and offer to show where."""
    st.html(inside_words.moved(inside_results.what_moved(shown.source, shown.view.layer, shown.edits)))
    st.session_state["w:view:change"] = shown.view.change
    about = "Beside each stage, the difference to the steps without the edits."
    st.toggle("Show where", key="w:view:change", on_change=_look_at_change, help=about)


def _look_at_change() -> None:
    state.look(change=st.session_state["w:view:change"])


def cell(shown: Shown, run: Run, query: int, key: int) -> None:
    """Write the arithmetic of the chosen cell, with its numbers."""
    view = shown.view
    st.html(words.chosen(run, view.item, view.head, query, key, view.layer))
    found = shown.trace.arithmetic(view.item, view.head, query, key)
    st.latex(inside_words.arithmetic(found, query, key))


def overview(shown: Shown, key: str, heading: str, names: tuple[str, ...]) -> None:
    """Draw some stages that are always in sight."""
    change = shown.view.change and shown.view.step == inside_steps.ALL
    hint = key == HINTED and shown.view.query is None
    _figure(
        shown, key, names, alt=f"{heading}: {', '.join(names)}", change=change, heading=heading, lines=[HINT] * hint
    )


def _figure(
    shown: Shown,
    key: str,
    names: tuple[str, ...],
    *,
    alt: str,
    change: bool,
    heading: str = "",
    lines: Sequence[str] = (),
) -> None:
    """Draw stages side by side; a click on a cell opens its arithmetic and fills the form of edits."""
    view = shown.view
    spec = inside_results.figure(shown.source, view.layer, shown.edits, names, view.item, view.head, change)
    head_dim = shown.trace["q_heads"].shape[-1]
    marked = {"query": view.query, "key": view.key}
    plot.heatmaps(
        spec,
        key=key,
        alt=alt,
        marked={name: at for name, at in marked.items() if at is not None},
        on_cell=lambda: _choose(key, spec, view, head_dim),
        filename=key,
        heading=heading,
        lines=lines,
    )


def _choose(key: str, spec: Spec, view: View, head_dim: int) -> None:
    """Take the clicked cell's query and key, each where its panel has it; what is missing stays, or is the first."""
    cell = plot.clicked(key)
    found = None if cell is None else inside_figures.touched(spec, cell)
    if found is not None:
        inside_edits.touch(found, view, head_dim)
        state.look(query=found.at.get("query", view.query or 0), key=found.at.get("key", view.key or 0))
