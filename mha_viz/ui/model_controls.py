"""The sidebar of the page Your model: the way in, and what it needs."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from mha_viz import pretrained, settings
from mha_viz.errors import MhaVizError
from mha_viz.pretrained import BUILT_IN, Reading
from mha_viz.pretrained.picture import SUFFIXES
from mha_viz.ui import controls, model_code, model_file, say, state
from mha_viz.ui.model_choice import CODE, FILE, MODEL, WayIn
from mha_viz.ui.origin import RunFile

TITLES = {FILE: "Run file", MODEL: "Pretrained model", CODE: "From your code"}


def sidebar(wanting: str) -> None:
    """Draw the controls of the page Your model.

    Args:
        wanting: The setting that is missing, such as `image`, or an empty text.
    """
    with st.sidebar:
        way = _ways()
        if way == FILE:
            model_file.uploader("run file", key="w:run_file", current=state.chosen(RunFile), take=_take)
        elif way == MODEL:
            _model(wanting)
        controls.history()


def _ways() -> str:
    way = state.chosen(WayIn).shown(state.chosen)
    st.session_state["w:way"] = way

    def choose() -> None:
        state.bring(WayIn, way=st.session_state["w:way"])

    st.radio("what to look at", list(TITLES), key="w:way", format_func=TITLES.__getitem__, on_change=choose)
    return way


def _take(found: RunFile) -> None:
    state.put(found, WayIn(FILE))


def _model(wanting: str) -> None:
    """Draw what a pretrained model needs: its name, and what it reads."""
    reading = state.chosen(Reading)
    _text("model", reading, placeholder="a folder, or a name on the hub")
    if reading.model != BUILT_IN and pretrained.builtin() is not None:
        st.button("Use the built-in model", key="use-built-in", on_click=model_code.show_built_in, width="stretch")
    if wanting != "image" and not reading.image:
        _text("model_text", reading)
        _text("model_text_2", reading)
    box = st.expander("A picture", key="group:picture", expanded=wanting == "image" or bool(reading.image))
    with box:
        _picture(reading)


def _text(name: str, reading: Reading, *, placeholder: str | None = None) -> None:
    about, key = settings.metadata(Reading)[name], f"w:{name}"
    st.session_state[key] = getattr(reading, name)

    def commit() -> None:
        typed = st.session_state[key]
        _change(**{name: typed.strip() if name == "model" else typed})

    label = about.label or name
    if about.lines > 1:
        height = 34 + 24 * about.lines
        st.text_area(label, key=key, help=about.help, max_chars=about.max_chars, height=height, on_change=commit)
    else:
        st.text_input(
            label, key=key, help=about.help, max_chars=about.max_chars, placeholder=placeholder, on_change=commit
        )


def _change(**values: str) -> None:
    """Change what is read, and stay with the model while there is a run file too."""
    try:
        state.put(replace(state.chosen(Reading), **values), WayIn(MODEL))
    except MhaVizError as error:
        state.refuse(str(error))


def _picture(reading: Reading) -> None:
    """Take a picture for models of pictures."""

    def commit() -> None:
        file = st.session_state["w:image"]
        if file is None:
            return
        try:
            reference = pretrained.hold_image(file.name, file.getvalue())
        except MhaVizError as error:
            state.refuse(str(error))
        else:
            _change(image=reference)

    types = [suffix.removeprefix(".") for suffix in SUFFIXES]
    about = "For models that read pictures, such as google/vit-base-patch16-224."
    st.file_uploader("picture", type=types, key="w:image", help=about, on_change=commit)
    if reading.image:
        say.caption("in use: " + reading.image.partition(" ")[2])
        st.button("Put it away", key="no-image", on_click=state.bring, args=(Reading,), kwargs={"image": ""})
