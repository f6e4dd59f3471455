"""The form that changes one number inside the layer, and the text of all such changes."""

from __future__ import annotations

import math
from collections.abc import Callable

import streamlit as st
from torch import Tensor

from mha_viz.attention.edits import INDICES, Edit
from mha_viz.attention.projections import projections
from mha_viz.attention.trace import Trace
from mha_viz.errors import MhaVizError
from mha_viz.settings import metadata
from mha_viz.ui import state
from mha_viz.ui.inside import Inside
from mha_viz.ui.inside_figures import INPUTS, Touched
from mha_viz.ui.view import View

Check = Callable[[str], object]

LABELS = {
    "query": "an input number: query",
    "key": "an input number: key",
    "value": "an input number: value",
    "q_weight": "a weight of the query projection",
    "k_weight": "a weight of the key projection",
    "v_weight": "a weight of the value projection",
    "out_weight": "a weight of the output projection",
    "mask": "a cell of the mask",
    "head": "a head",
    "temperature": "the temperature",
}
PLACES = {"n": "batch item", "h": "head", "i": "query i", "j": "key j", "d": "number d", "row": "row", "col": "column"}
KIND, VALUE, EVERY, TEXT = "w:edit:kind", "w:edit:value", "w:edit:every", "w:edit:text"

_TOUCHED = {
    **{name: name for name in ("query", "key", "value")},
    **{name: f"{name[0]}_weight" for name in ("q", "k", "v", "q_heads", "k_heads", "v_heads")},
    **dict.fromkeys(("scores", "scaled", "masked", "softmax", "weights"), "mask"),
    "heads": "head",
    "concatenated": "out_weight",
    "output": "out_weight",
}
"""What the form offers to change once a cell of a stage was clicked."""


def touch(cell: Touched, view: View, head_dim: int) -> None:
    """Fill the form with what a clicked cell depends on."""
    at = cell.at.get("dim", 0)
    first = view.head * head_dim if cell.stage.endswith("_heads") else 0
    places = {"n": view.item, "h": view.head, "i": cell.at.get("query"), "j": cell.at.get("key")}
    places |= {"d": at, "row": first + at}
    if cell.stage == "concatenated":
        places |= {"row": 0, "col": at}
    st.session_state[KIND] = _TOUCHED[cell.stage]
    st.session_state.update({f"w:edit:{place}": index for place, index in places.items() if index is not None})


def form(trace: Trace | None, inside: Inside, view: View, check: Check) -> None:
    """Draw the form, what has been changed so far as text, and the buttons that change or clear it.

    Args:
        trace: What can be changed; None where nothing is shown.
        inside: What has been changed.
        view: What is looked at.
        check: Raises a `MhaVizError` for edits that do not fit what is shown.
    """
    st.subheader("Edit and see", help="Change one number and see what moves from there on. The link carries it.")
    if trace is not None:
        _one(trace, view)
    if not state.problem():
        st.session_state[TEXT] = inside.edits
    about = metadata(Inside)["edits"]
    st.text_area(
        "edits", key=TEXT, max_chars=about.max_chars, height=90, help=about.help, on_change=_write, args=(check,)
    )
    st.button("Clear edits", on_click=state.bring, args=(Inside,), kwargs={"edits": ""}, disabled=not inside.edits)


def _write(check: Check) -> None:
    """Take what was typed if it fits; what does not is said, stays in the box, and changes nothing."""
    try:
        check(st.session_state[TEXT])
    except MhaVizError as error:
        state.refuse(str(error))
    else:
        state.bring(Inside, edits=st.session_state[TEXT])


def _one(trace: Trace, view: View) -> None:
    """Draw what to change, where, and into what."""
    st.session_state.setdefault(KIND, "mask")
    kind = st.selectbox("change", list(LABELS), key=KIND, format_func=LABELS.__getitem__)
    starred = ("n", "h") if kind == "mask" and st.checkbox("in every head and batch item", key=EVERY) else ()
    index: list[int | None] = []
    with st.container(horizontal=True):
        for place, size in zip(INDICES[kind], _sizes(trace, kind), strict=True):
            index.append(None if place in starred else _index(place, size, view))
    value = _value(trace, kind, tuple(index))
    edit = Edit(kind, tuple(index), value)
    st.button("Apply", type="primary", width="stretch", on_click=_apply, args=(edit,), help=str(edit))


def _apply(edit: Edit) -> None:
    state.put(state.chosen(Inside).with_edit(edit))


def _index(place: str, size: int, view: View) -> int:
    key = f"w:edit:{place}"
    shown = {"n": view.item, "h": view.head, "i": view.query, "j": view.key}.get(place)
    st.session_state[key] = min(st.session_state.get(key, shown or 0), size - 1)
    return st.number_input(PLACES[place], 0, size - 1, key=key, width=105)


def _numbers(trace: Trace, kind: str) -> Tensor | None:
    """Return the numbers that a kind of edit writes on; None where there are none yet, or it writes on none."""
    call = trace.given.call
    if kind in INPUTS:
        found: Tensor = getattr(call, kind)
        return found
    if kind.endswith("_weight"):
        return projections(call.module)[kind.removesuffix("_weight")][0].detach()
    return trace.given.mask.expand(trace.given.shape) if kind == "mask" and trace.given.mask is not None else None


def _sizes(trace: Trace, kind: str) -> tuple[int, ...]:
    numbers, shape = _numbers(trace, kind), trace.given.shape
    return {"mask": shape, "head": shape[1:2], "temperature": ()}[kind] if numbers is None else tuple(numbers.shape)


def _value(trace: Trace, kind: str, index: tuple[int | None, ...]) -> float | bool:
    """Draw what the number becomes, and say what it is now; of several cells, what the first one is."""
    if kind == "head":
        st.caption("It is switched off: what it gathers is set to 0.")
        return True
    numbers = _numbers(trace, kind)
    first = tuple(i or 0 for i in index)
    now = trace.given.temperature if kind == "temperature" else 0.0 if numbers is None else float(numbers[first])
    if kind == "mask":
        hidden = now == -math.inf
        st.caption(f"Now it is {'hidden' if hidden else 'allowed'}; Apply will {'allow' if hidden else 'hide'} it.")
        return not hidden
    key = f"{VALUE}:{kind}"
    st.session_state.setdefault(key, 0.5 if kind == "temperature" else 1.0)
    low = 0.01 if kind == "temperature" else None
    return float(st.number_input(f"new value (now {now:.4g})", low, None, key=key, step=0.1, format="%g"))
