"""The sidebar of the Masks page: what was intended, and the mask that is given instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from mha_viz import gallery, settings
from mha_viz import given as brought
from mha_viz.doctor import MISTAKES
from mha_viz.errors import MhaVizError
from mha_viz.given import CORRECT, Given
from mha_viz.inputs.assemble import sizes
from mha_viz.inputs.raw_mask import SUFFIXES, RawMask, read_mask
from mha_viz.inputs.raw_mask_text import parse_mask
from mha_viz.scenario import GROUPS, MASKS, STACK
from mha_viz.ui import controls, mask_builder, say, state
from mha_viz.ui.mask_words import FUNCTIONS


def sidebar() -> None:
    """Draw the controls of the Masks page."""
    with st.sidebar:
        controls.examples(gallery.MASK_PAGE)
        st.subheader("Intended", anchor=False)
        controls.control("mask")
        box = st.expander("Build from patterns", key="group:build", on_change="rerun")
        if box.open:
            with box:
                mask_builder.builder(_length())
        st.subheader("Given", anchor=False)
        _choice("mistake")
        box = st.expander("Bring a mask of your own", key="group:bring", on_change="rerun")
        if box.open:
            with box:
                _bring()
        if state.given().mistake == CORRECT or state.given().file:
            _choice("api")
        for group in (name for name in GROUPS if name != STACK):
            controls.group(group, whole=group != MASKS)
        controls.history()


def _length() -> int:
    """Return the longer of L and S; 16 where the inputs cannot be made."""
    try:
        size = sizes(state.scenario().alone)
    except MhaVizError:
        return 16
    return max(size.query_len, size.key_len)


def _titled(value: str) -> str:
    """Return what a list says for a value of a field of Given."""
    if value == CORRECT:
        return "Nothing: written as it should be"
    return MISTAKES[value].title if value in MISTAKES else FUNCTIONS.get(value, value)


def _choice(name: str) -> None:
    """Draw a list of the values that a field of Given may have."""
    about, key = settings.metadata(Given)[name], f"w:given:{name}"
    st.session_state[key] = getattr(state.given(), name)

    def commit() -> None:
        other = {"file": ""} if name == "mistake" else {}
        state.bring(Given, **{name: st.session_state[key]}, **other, fixed="")

    st.selectbox(about.label or name, about.choices, key=key, help=about.help, format_func=_titled, on_change=commit)


def _bring() -> None:
    """Draw the ways to bring a mask: a file, or pasted text."""
    _choice("role")
    st.file_uploader("mask file", type=[s.removeprefix(".") for s in SUFFIXES], key="w:mask:file", on_change=_take_file)
    about = "Nested lists, a printed tensor, or a drawing of 0 and 1, . and x, or empty and filled squares."
    st.text_area("or paste it", key="w:mask:text", help=about, on_change=_take_text, height=120)
    if state.given().file:
        say.caption("in use: " + state.given().file.partition(" ")[2])
        st.button("Put it away", on_click=state.bring, args=(Given,), kwargs={"file": "", "fixed": ""})


def _take_file() -> None:
    file = st.session_state["w:mask:file"]
    if file is not None:
        _take(lambda: read_mask(file.name, file.getvalue()))


def _take_text() -> None:
    text = st.session_state["w:mask:text"]
    if text.strip():
        _take(lambda: parse_mask(text))


def _take(read: Callable[[], RawMask]) -> None:
    """Make a mask the one that is given, and the sequence as long as the mask is."""
    try:
        raw = read()
        fitted = brought.fitted(state.scenario().alone, raw, state.given().role)
    except MhaVizError as error:
        state.refuse(str(error))
        return
    changes = {"file": brought.hold(raw), "mistake": CORRECT, "fixed": ""}
    state.put(fitted, replace(state.given(), **changes))
