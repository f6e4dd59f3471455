"""Building a mask from named patterns: choose one, set its parameters, and put it into the text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import streamlit as st

from mha_viz.errors import MaskError
from mha_viz.masks import PATTERNS, Mask, Parameter, Pattern, mask
from mha_viz.ui import state

PAINTED = "cells"
"""The pattern that is drawn with the pointer and not typed."""

FIRST = "window"
MAX_SLIDER = 1_000_000
JOINS = {
    "use": ("Use", "The mask becomes this pattern."),
    "and": ("& and", "A query may attend where both the mask and this pattern allow it."),
    "or": ("| or", "A query may attend where the mask or this pattern allows it."),
}


def builder(length: int) -> None:
    """Draw the choice of a pattern, its parameters, and the buttons that put it into the mask's text.

    Args:
        length: The longer of L and S: as far as a slider goes.
    """
    names = [name for name in PATTERNS if name != PAINTED]
    about = "A named mask. A button below puts it, with its numbers, into the mask's text."
    chosen = st.selectbox("pattern", names, index=names.index(FIRST), key="w:build:pattern", help=about)
    pattern = PATTERNS[chosen]
    st.caption(_words(pattern.summary))
    for parameter in pattern.parameters:
        _control(pattern, parameter, max(2, length))
    with st.container(horizontal=True):
        for join, (label, does) in JOINS.items():
            st.button(label, key=f"build:{join}", help=does, on_click=_put, args=(join, chosen), width="stretch")


def _words(summary: str) -> str:
    """Put formulas into backquotes, where Markdown leaves their signs alone."""
    text, colon, formula = summary.partition(": ")
    return f"{text}: `{formula.rstrip('.')}`" if colon and re.search(r"[<=|]", formula) else summary


def _key(pattern: Pattern[Mask], parameter: Parameter) -> str:
    return f"w:build:{pattern.name}:{parameter.name}"


def _control(pattern: Pattern[Mask], parameter: Parameter, length: int) -> None:
    """Draw one parameter; what it is set to waits in the browser until a button is pressed."""
    key, label = _key(pattern, parameter), f"{parameter.name}: {parameter.help}"
    if parameter.repeats:
        st.session_state.setdefault(key, re.sub(r"^\w+\(|\)$", "", pattern.example))
        st.text_input(label, key=key, max_chars=400, on_change="ignore")
        return
    low, default = parameter.kind(parameter.low), parameter.kind(parameter.default or 0)
    if parameter.kind is int and parameter.high > MAX_SLIDER:
        st.session_state.setdefault(key, default)
        st.number_input(label, low, parameter.kind(parameter.high), key=key, on_change="ignore")
        return
    high = parameter.kind(max(low + 1, min(parameter.high, length)))
    st.session_state[key] = max(low, min(st.session_state.get(key, default), high))
    st.slider(label, low, high, step=1 if parameter.kind is int else 0.05, key=key, on_change="ignore")


def _put(join: str, name: str) -> None:
    """Put the chosen pattern into the mask's text."""
    pattern = PATTERNS[name]
    try:
        built = pattern(*_values(pattern))
        base = mask(state.shown("mask"))
    except MaskError as error:
        state.refuse(str(error))
        return
    state.change(mask=str({"use": built, "and": base & built, "or": base | built}[join]))


def _values(pattern: Pattern[Mask]) -> Sequence[int | float]:
    found: list[int | float] = []
    for parameter in pattern.parameters:
        held = st.session_state.get(_key(pattern, parameter))
        if parameter.repeats:
            found += [int(number) for number in re.findall(r"-?\d+", str(held))]
        else:
            found.append(parameter.default or 0 if held is None else held)
    return found
