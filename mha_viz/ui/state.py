"""What a session remembers. The Scenario is the truth, widgets are views of it, the URL is rewritten from it.

Only this module names keys of the session state. They hold texts and frozen dataclasses of primitives: no tensors,
no figures, so a session costs next to nothing and a restarted server loses nothing that the URL doesn't bring back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from mha_viz import settings
from mha_viz.errors import MhaVizError
from mha_viz.given import Given
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.ui.inside import Inside
from mha_viz.ui.model_choice import WayIn
from mha_viz.ui.origin import RunFile
from mha_viz.ui.pair import Pair
from mha_viz.ui.view import View

V = TypeVar("V")

CHOSEN: dict[type, str] = {
    Scenario: "mha_scenario",
    Given: "mha_given",
    RunFile: "mha_run_file",
    Inside: "mha_inside",
    Reading: "mha_reading",
    WayIn: "mha_way_in",
    Pair: "mha_pair",
}
"""The settings that pages act on, all of which the link carries and `undo` brings back; no two share a field's name."""
VIEW, GONE = "mha_view", "mha_gone"
HISTORY, FUTURE = "mha_history", "mha_future"
PENDING, PROBLEM, NOTES = "mha_pending", "mha_problem", "mha_notes"
DRAWN = "mha_drawn"
BOXES = ("group:depth", "group:statistics", "group:share")
"""The keys of the boxes below a picture."""
MAX_HISTORY = 100
DECISIVE = ("source", "stack")
"""Settings that decide which others have a control."""


def load() -> None:
    """Start the session from the URL; from then on the URL follows it, unless the browser goes back or forth."""
    if VIEW not in st.session_state:
        found, notes = _read()
        st.session_state.update({HISTORY: [], FUTURE: [], PENDING: {}, PROBLEM: "", NOTES: notes, GONE: 0, DRAWN: {}})
        st.session_state.update({VIEW if kind is View else CHOSEN[kind]: each for kind, each in found.items()})
    elif _went_back() and _url_items():  # a page of the menu opens at a bare address, which says nothing of settings
        found, _ = _read()
        st.session_state[VIEW] = found.pop(View)
        put(*found.values())


def _went_back() -> bool:
    """Return whether this run is for an address that the browser has gone back or forth to."""
    context = get_script_run_ctx(suppress_warning=True)
    return context is not None and context.is_history_navigation


def _read() -> tuple[dict[type, Any], list[str]]:
    """Return all settings of the URL by kind, and a sentence for each part of it that could not be used."""
    link = settings.encode_query(list(_url_items()))
    found: dict[type, Any] = {}
    errors: list[MhaVizError] = []
    unknown: list[set[str]] = []
    for kind in (*CHOSEN, View):
        asked = settings.read_query(kind, link)
        found[kind], misfits = settings.nearest(kind, asked.values)
        errors += [*asked.errors, *misfits]
        unknown.append(set(asked.unknown))
    strange = [name for name, _ in _url_items() if all(name in names for names in unknown)]
    notes = [f"The link's setting {name[:60]!r} is not known to this version and was left out." for name in strange]
    notes += [f"{error.rstrip('.')}. The link's value was left out." for error in dict.fromkeys(map(str, errors))]
    return found, notes


def _url_items() -> list[tuple[str, str]]:
    return [(name, st.query_params[name]) for name in st.query_params]


def chosen(kind: type[V]) -> V:
    """Return the session's settings of one kind, which are always valid."""
    found: V = st.session_state[CHOSEN[kind]]
    return found


def scenario() -> Scenario:
    """Return the session's Scenario."""
    return chosen(Scenario)


def given() -> Given:
    """Return which mask the session brought to the Masks page."""
    return chosen(Given)


def view() -> View:
    """Return the session's View; its indices may be out of bounds for the run (see `View.within`)."""
    found: View = st.session_state[VIEW]
    return found


def notes() -> list[str]:
    """Return one sentence for each part of the link that could not be used."""
    found: list[str] = st.session_state[NOTES]
    return found


def problem() -> str:
    """Return why the last change could not be made, or an empty text."""
    return str(st.session_state[PROBLEM])


def shown(name: str) -> Any:
    """Return what the control of a Scenario's field shows: what was typed, even if it is not valid yet."""
    return st.session_state[PENDING].get(name, getattr(scenario(), name))


def all_shown() -> dict[str, Any]:
    """Return `shown` of every field."""
    return {**vars(scenario()), **st.session_state[PENDING]}


def change(**values: Any) -> None:
    """Change settings; together with what was typed before if that did not fit, so that order doesn't matter.

    If the result is not valid, the Scenario stays as it is, the typed values stay in their controls, and `problem()`
    says why.
    """
    pending = {**st.session_state[PENDING], **values}
    try:
        changed = replace(scenario(), **pending)
    except MhaVizError as error:
        st.session_state[PENDING], st.session_state[PROBLEM] = pending, str(error)
        return
    put(changed)


def refuse(why: str) -> None:
    """Leave everything as it is and say why the last change could not be made."""
    st.session_state[PROBLEM] = why


def put(*changed: Any) -> None:
    """Make these settings the session's, one of a kind; those before can be had back by `undo`."""
    before = _settings()
    st.session_state.update({PENDING: {}, PROBLEM: "", NOTES: []})
    st.session_state.update({CHOSEN[type(each)]: each for each in changed})
    if _settings() != before:
        st.session_state.update({HISTORY: [*st.session_state[HISTORY], before][-MAX_HISTORY:], FUTURE: []})


def bring(kind: type[Any], **values: Any) -> None:
    """Change settings other than the Scenario's; what was typed there and does not fit yet is left in its controls.

    If the result is not valid, nothing changes and `problem()` says why.
    """
    typed = {name: st.session_state[name] for name in (PENDING, PROBLEM)}
    try:
        changed = replace(chosen(kind), **values)
    except MhaVizError as error:
        refuse(str(error))
        return
    put(changed)
    if typed[PENDING]:
        st.session_state.update(typed)


def look(**values: Any) -> None:
    """Change the View."""
    st.session_state[VIEW] = replace(view(), **values)


def go(query: int, key: int) -> None:
    """Look at a cell, and have figures zoom to it, once more if they did before."""
    look(query=query, key=key)
    st.session_state[GONE] += 1


def times_gone() -> int:
    """Return how often the session has gone to a cell."""
    return int(st.session_state[GONE])


def drew(part: str, outline: tuple[object, ...] | None) -> None:
    """Remember for what a part of the page was drawn, or by None that it must be drawn again."""
    st.session_state[DRAWN] = {**st.session_state[DRAWN], part: outline}


def drawn(part: str) -> tuple[object, ...] | None:
    """Return for what a part of the page was drawn last."""
    found: tuple[object, ...] | None = st.session_state[DRAWN].get(part)
    return found


def is_box_open() -> bool:
    """Return whether one of the boxes below the picture is open."""
    return any(st.session_state.get(key) for key in BOXES)


def undo() -> None:
    """Take back the last change of settings, or what was typed and did not fit."""
    if st.session_state[PENDING]:
        st.session_state.update({PENDING: {}, PROBLEM: ""})
    else:
        _step(HISTORY, FUTURE)


def redo() -> None:
    """Make the change again that `undo` took back last."""
    _step(FUTURE, HISTORY)


def undone() -> bool:
    """Return whether there is something to redo."""
    return bool(st.session_state[FUTURE])


def start_over() -> None:
    """Put all settings back to their defaults; `undo` works."""
    put(*(kind() for kind in CHOSEN))


def _step(taken: str, kept: str) -> None:
    """Go to the last settings of one list, and append the present ones to the other."""
    settings_before: list[str] = st.session_state[taken]
    if not settings_before:
        return
    st.session_state[kept] = [*st.session_state[kept], _settings()]
    st.session_state[taken] = settings_before[:-1]
    st.session_state.update({PENDING: {}, PROBLEM: "", NOTES: []})
    for kind, key in CHOSEN.items():
        st.session_state[key] = kind(**settings.read_query(kind, settings_before[-1]).values)


def _settings() -> str:
    """Return all that `undo` brings back, as a query string."""
    parts = (settings.to_query(chosen(kind)) for kind in CHOSEN)
    return "&".join(part for part in parts if part)


def link() -> str:
    """Return the query string that reopens exactly this: all settings, and the view."""
    return "&".join(part for part in (_settings(), settings.to_query(view())) if part)


def publish() -> None:
    """Rewrite the URL where it does not say what the session holds."""
    items = parse_qsl(link(), keep_blank_values=True)
    if items != _url_items():
        st.query_params.from_dict(dict(items))
