"""The sidebar: one control for each field of the Scenario, made from the field's metadata."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from mha_viz import gallery, settings
from mha_viz.attention import Run, device
from mha_viz.errors import MhaVizError
from mha_viz.figures.grammar import SCALES
from mha_viz.inputs import store
from mha_viz.inputs.upload import SUFFIXES, read_upload
from mha_viz.masks import PATTERNS
from mha_viz.scenario import DECODER, ENCODER, ENCODER_DECODER, GROUPS, Scenario
from mha_viz.ui import parts, say, state
from mha_viz.ui.view import HEATMAP, View

FIELDS_OF_SOURCE = {
    "text": ("text", "key_text", "positions"),
    "table": ("table", "key_table", "value_table"),
    "upload": ("query_file", "key_file", "value_file"),
}
_STACK_FIELDS = {
    **dict.fromkeys(("num_layers", "dim_feedforward", "activation", "norm_first"), (ENCODER, DECODER, ENCODER_DECODER)),
    **dict.fromkeys(("memory_mask", "tgt_padding"), (DECODER, ENCODER_DECODER)),
    "src_mask": (ENCODER_DECODER,),
}
_SOURCE_FIELDS = frozenset(name for names in FIELDS_OF_SOURCE.values() for name in names)


def sidebar() -> None:
    """Draw the settings of the Scenario: the first in sight, the others in groups that cost nothing while closed."""
    with st.sidebar:
        examples(gallery.EXPLORE)
        fields(lambda about: about.first)
        for name in GROUPS:
            group(name)
        history()


def examples(page: str) -> None:
    """Draw the list of the gallery's examples that a page shows."""
    names = [example.name for example in gallery.EXAMPLES if example.page == page]
    _offer("example", "Open an example", names, _open_example)


def group(name: str, *, whole: bool = False) -> None:
    """Draw a group of settings as a box that is empty while it is closed.

    Args:
        name: The group.
        whole: With the settings that Explore has in sight above its groups.
    """
    box = st.expander(f"More: {name}", key=f"group:{name}", on_change="rerun")
    if box.open:
        with box:
            fields(lambda about: about.group == name and (whole or not about.first))


def history() -> None:
    """Draw the buttons that go back and forth in the settings."""
    with st.container(horizontal=True):
        about = "Take back the last change of settings."
        st.button("Undo", on_click=_all_anew, args=(state.undo,), help=about, width="stretch")
        about = "Make the change again that was taken back."
        disabled = not state.undone()
        st.button("Redo", on_click=_all_anew, args=(state.redo,), help=about, disabled=disabled, width="stretch")
        about = "Back to the first picture; Undo works."
        st.button("Start over", on_click=_all_anew, args=(state.start_over,), help=about, width="stretch")


def _all_anew(act: Callable[..., None], *values: Any) -> None:
    """Do what may change everything that is shown."""
    act(*values)
    parts.redraw(*parts.ALL)


def open_example(example: gallery.Example) -> None:
    """Make an example's settings the session's."""
    state.put(example.scenario, example.given or state.given())
    state.look(layer=0, item=example.item)


def _offer(name: str, label: str, options: list[str], choose: Callable[[str], None]) -> None:
    """Draw a list that acts on a choice and then shows its label again."""
    key = f"w:{name}"
    st.session_state[key] = None

    def act() -> None:
        if st.session_state[key] is not None:
            _all_anew(choose, st.session_state[key])

    st.selectbox(label, options, index=None, key=key, on_change=act, placeholder=label, label_visibility="collapsed")


def _open_example(name: str) -> None:
    open_example(gallery.named(name))


def _choose_pattern(text: str) -> None:
    state.change(mask=text)


def view_bar(run: Run, view: View, *, show: bool = True) -> None:
    """Draw the choices that change no number: kind of picture if `show`, colours, layer, head, batch item."""
    items, heads = run.layers[view.layer].weights.shape[:2]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if show:
            _view_choice("show", view.show, settings.metadata(View)["show"].choices)
        if view.show == HEATMAP or not show:
            _view_choice("scale", view.colours, SCALES)
        if len(run.layers) > 1:
            view_index("layer", view.layer, len(run.layers))
        view_index("head", view.head, heads)
        if items > 1:
            view_index("item", view.item, items)


def _view_choice(name: str, value: str, options: tuple[str, ...]) -> None:
    about = settings.metadata(View)[name]
    st.session_state[f"w:view:{name}"] = value
    st.segmented_control(
        about.label or name,
        options,
        key=f"w:view:{name}",
        help=about.help,
        required=True,
        on_change=_look,
        args=(name,),
    )


def view_index(name: str, value: int, count: int) -> None:
    """Draw the choice of one of `count` layers, heads or batch items."""
    about = settings.metadata(View)[name]
    st.session_state[f"w:view:{name}"] = value
    st.number_input(
        about.label or name,
        0,
        count - 1,
        key=f"w:view:{name}",
        help=about.help,
        on_change=_look,
        args=(name,),
        width=124,  # of 120 and less Streamlit takes the buttons away
    )


def _look(name: str) -> None:
    parts.look(typed=name, **{name: st.session_state[f"w:view:{name}"]})


def fields(wanted: Callable[[settings.Setting], bool]) -> None:
    """Draw the controls of the settings that are wanted and that apply."""
    for name, about in settings.metadata(Scenario).items():
        if wanted(about) and _applies(name):
            control(name)
            if name == "mask":
                _offer("pattern", "Choose a known mask", [p.example for p in PATTERNS.values()], _choose_pattern)


def _applies(name: str) -> bool:
    if name in _STACK_FIELDS:
        return state.shown("stack") in _STACK_FIELDS[name]
    source = state.shown("source")
    return name not in _SOURCE_FIELDS or name in FIELDS_OF_SOURCE.get(source, ())


def control(name: str) -> None:
    """Draw the control of one field of the Scenario."""
    about = settings.metadata(Scenario)[name]
    kind, _ = settings.kinds(Scenario)[name]
    if name.endswith("_file"):
        _uploader(name)
        return
    key = f"w:{name}"
    st.session_state[key] = state.shown(name)
    common: dict[str, Any] = {
        "label": about.label or name,
        "key": key,
        "help": about.help,
        "on_change": _commit,
        "args": (name,),
    }
    if kind is bool:
        st.checkbox(**common)
    elif name == "device":
        st.selectbox(options=list(dict.fromkeys([*device.available(), state.shown(name)])), **common)
    elif about.choices:
        st.selectbox(options=about.choices, **common)
    elif kind in (int, float):
        _number(name, about, kind, common)
    elif about.lines > 1:
        st.text_area(height=34 + 24 * about.lines, max_chars=about.max_chars, **common)
    else:
        st.text_input(max_chars=about.max_chars, **common)


def _number(name: str, about: settings.Setting, kind: type, common: dict[str, Any]) -> None:
    low, high = kind(about.low or 0), kind(about.high or 0)
    if kind is float and high == 1.0:
        st.slider(min_value=low, max_value=high, step=0.05, **common)
    else:
        step = 1 if kind is int else 0.5
        st.number_input(min_value=low, max_value=high, step=step, placeholder="automatic", **common)


def _commit(name: str) -> None:
    value = st.session_state[f"w:{name}"]
    _, optional = settings.kinds(Scenario)[name]
    if value is None and not optional:
        value = settings.default_of(Scenario, name)
    parts.change(name, value, st.session_state[f"w:{name}"])


def _uploader(name: str) -> None:
    about = settings.metadata(Scenario)[name]
    current = state.shown(name)
    role = name.removesuffix("_file")
    st.file_uploader(
        f"{role} file",
        type=[s.removeprefix(".") for s in SUFFIXES],
        key=f"w:{name}",
        help=about.help,
        on_change=_all_anew,
        args=(_take_file, name),
    )
    if current:
        say.caption("in use: " + current.partition(" ")[2])
        if st.session_state[f"w:{name}"] is None:  # it came with the link, so that the box above has no cross for it
            about_it = "Do without this file; Undo brings it back."
            st.button("Put it away", key=f"w:away:{name}", help=about_it, on_click=_all_anew, args=(_put_away, name))


def _put_away(name: str) -> None:
    state.change(**{name: ""})


def _take_file(name: str) -> None:
    file = st.session_state[f"w:{name}"]
    try:
        reference = store.put(read_upload(file.name, file.getvalue())) if file is not None else ""
    except MhaVizError as error:
        state.refuse(str(error))
    else:
        state.change(**{name: reference})
