"""The parts of the page Your model that depend on the run; each draws one thing."""

from __future__ import annotations

import streamlit as st

from mha_viz import pretrained
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError, MhaVizError
from mha_viz.figures.over_image import patches
from mha_viz.pretrained import Reading
from mha_viz.pretrained.picture import held_image
from mha_viz.ui import cached, inside_source, model_code, model_findings, origin, panels, plot, say, state
from mha_viz.ui.model_choice import CODE, MODEL, WayIn
from mha_viz.ui.origin import RunFile


def everything() -> str:
    """Draw what the chosen way in leads to; return the setting that is missing, such as `image`, or an empty text."""
    way = state.chosen(WayIn).shown(state.chosen)
    if way == CODE:
        model_code.guide()
        return ""
    source = state.chosen(WayIn).origin(state.chosen)
    if source is None:
        (model_code.no_model if way == MODEL else model_code.no_file)()
        return ""
    try:
        _shown(source)
    except MhaVizError as error:
        say = st.info if error.field == "image" else st.error  # to give a picture is the next step, not a mistake
        say(str(error))
        return error.field
    return ""


def _shown(source: Reading | RunFile) -> None:
    """Draw a run, what the doctor says of its masks, and a picture under its attention where it read one."""
    run = cached.run_with_spinner(source)
    top = st.container()
    if isinstance(source, Reading) and source.image:
        over_picture(source, run)
    if len(run.layers) == 1:  # of several, the overview says it
        for text in filter(None, (run.name, *run.notes)):
            say.caption(text)
    panels.everything(source, run)
    with top:
        model_findings.verdict(source)
    inside_source.door(run.layers[state.view().within(run).layer].call is not None)
    model_findings.findings(source)


def over_picture(source: Reading, run: Run) -> None:
    """Draw the weights of one patch, or of the whole picture's token, over the picture."""
    view = state.view().within(run)
    try:
        image = pretrained.seen_image(source.model, held_image(source.image), local=origin.is_local())
        spec = patches(run, image, layer=view.layer, head=view.head, query=view.query or 0, item=view.item)
    except InputError as error:  # a model of text with a picture left over, or tokens that are no patches
        say.caption(error)
        return
    hint = "Choose a row of the heatmaps below to see where that patch looks."
    plot.heatmaps(spec, key="patches", alt="Attention over the picture", filename="picture", lines=[hint])
