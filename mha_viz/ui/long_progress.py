"""A long computation on a page: how far it is, a button that ends it, and what to do if it ended early."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mha_viz.errors import MhaVizError
from mha_viz.ui import exhausted, jobs, long_words, say, waiting
from mha_viz.ui.jobs import Job
from mha_viz.ui.long_results import Kind, Layer

POLL = 0.5
"""Seconds between two looks at a job that runs."""
SOON = 1.5
"""Seconds that a job may take in all for the page to be drawn after it, with no word of how far it is."""
LOOK = 0.05
"""Seconds after which a page that waits sees that something else is asked for."""

R = TypeVar("R")


def found(kind: Kind[R], find: Callable[[], Layer], *, asked: str = "") -> list[R | None]:
    """Return what is known of each head; what is missing is computed, and how far that is is drawn here.

    Args:
        kind: What is wanted.
        find: Returns the layer. Callbacks and fragments, which outlive their page, hold this and not the layer itself.
        asked: Only after a button with this text was pressed, if it takes long.
    """
    layer = find()
    known = kind.known(layer)
    if None not in known:
        return known
    if layer.light:
        return _at_once(kind, layer)
    job, who = jobs.of_server().find(kind.job(layer)), _who()
    if job is not None and job.failure:
        with _line():
            say.error(job.failure)
            _button("Compute again", kind, find)
    elif job is not None and job.was_left_by(who):
        with _line():
            st.info(f"Cancelled: {_counted(known)} are computed.")
            _button("Compute", kind, find)
    elif asked and not (job is not None and job.running):
        _button(asked, kind, find)
    else:
        _wait(kind.start(layer, who))
        known = kind.known(layer)
        if None in known:
            st.fragment(_watched, run_every=POLL)(kind, find, _count(known))
    return known


def _wait(job: Job) -> None:
    """Wait for a job that is over soon: what it is to replace stays meanwhile, and it is seen to end at once."""
    while job.ends_within(SOON) and not waiting.is_outdated():
        job.wait(LOOK)


def _at_once(kind: Kind[R], layer: Layer) -> list[R | None]:
    try:
        with exhausted.memory():
            return list(kind.at_once(layer))
    except MhaVizError as error:
        say.error(error)
        return kind.known(layer)


def _watched(kind: Kind[R], find: Callable[[], Layer], drawn: int) -> None:
    """Draw how far a job is; once there is more to see than what is drawn, the page is drawn again."""
    layer, who = find(), _who()
    job, known = jobs.of_server().find(kind.job(layer)), kind.known(layer)
    if job is None or not job.running or job.was_left_by(who) or _count(known) != drawn:
        st.rerun()
    job.look(who)
    with _line():
        st.progress(min(1.0, job.share), text=_said(job, known))
        st.button("Cancel", key=f"w:cancel:{kind.name}", on_click=job.leave, args=(who,))


def _line() -> DeltaGenerator:
    return st.container(horizontal=True, vertical_alignment="center")


def _said(job: Job, known: list[R | None]) -> str:
    if job.place:
        return f"Others are computing. Position in line: {job.place}"
    left = long_words.time_left(job.seconds_left())
    return f"Computing every weight once: {_counted(known)} done, {job.share:.0%}{left}"


def _counted(known: list[R | None]) -> str:
    return f"{_count(known)} of {len(known)} heads"


def _count(known: list[R | None]) -> int:
    return len(known) - known.count(None)


def _button(label: str, kind: Kind[R], find: Callable[[], Layer]) -> None:
    who = _who()

    def start() -> None:
        kind.start(find(), who)

    st.button(label, key=f"w:compute:{kind.name}", on_click=start)


def _who() -> str:
    context = get_script_run_ctx()
    assert context is not None, "only a page has somebody who looks at it"
    return context.session_id
