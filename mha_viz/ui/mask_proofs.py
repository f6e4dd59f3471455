"""What the Masks page proves and hands back; each box works out nothing before it is opened."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mha_viz.attention.runs import Run
from mha_viz.errors import MhaVizError
from mha_viz.export import conventions
from mha_viz.export.conventions import sparsity
from mha_viz.export.pytests import pytest_for
from mha_viz.figures import masks
from mha_viz.given import Given
from mha_viz.inputs.assemble import sizes
from mha_viz.masks import mask
from mha_viz.scenario import Scenario
from mha_viz.ui import mask_results, mask_words, plot, say, state, words
from mha_viz.ui.mask_results import Checked
from mha_viz.ui.view import View

MAX_REACH = 256
"""Tokens up to which every input is perturbed when the box is opened: each is a forward of its own."""


def boxes(s: Scenario, given: Given, found: Checked, run: Run | None, view: View) -> None:
    """Draw the closed boxes under the figures."""
    if run is not None:
        _box("reach", "Reach: what each output really depends on", lambda: _reach(s, given, run, view))
    if found.case.api == "mha" and found.case.batch_first in (None, s.batch_first):
        _box("paths", "Execution paths: the same call in every mode of torch", lambda: _paths(s, given))
    _box("guess", "What is this mask? A guess from the numbers alone", lambda: _guesses(found))
    _box("code", "The intended mask in every convention", lambda: _code(s))
    _box("test", "Copy as pytest", lambda: _test(found))
    _box("link", "Share", lambda: _link())


def _box(name: str, label: str, draw: Callable[[], None]) -> None:
    box = st.expander(label, key=f"group:{name}", on_change="rerun")
    if box.open:
        with box, st.spinner("Working it out", show_time=True):
            try:
                draw()
            except MhaVizError as error:
                say.error(error)


def _reach(s: Scenario, given: Given, run: Run, view: View) -> None:
    length, keys = run.layers[0].weights.shape[2:]
    if max(length, keys) > MAX_REACH:
        st.text(f"Reach is worked out for at most {MAX_REACH} tokens here; mv.reach does it for any number.")
        return
    found, compared = mask_results.reach(s, given)
    item = min(view.item, len(found) - 1)
    plot.heatmaps(
        masks.dependence(run, found, compared, item=item),
        key="reach-figure",
        alt="Which outputs depend on which inputs",
        filename="reach",
        lines=mask_words.reach(compared, item),
    )


def _paths(s: Scenario, given: Given) -> None:
    table = mask_results.paths(s, given)
    st.html(words.table(*mask_words.paths(table), "mha-paths"))
    for note in table.notes:
        st.text(note)


def _guesses(found: Checked) -> None:
    explanations = mask_results.explanations(found.case)
    if not explanations:
        st.text("There is no mask to recognise: nothing is hidden.")
    for number, explanation in enumerate(explanations):
        left, right = st.columns([4, 1], vertical_alignment="center")
        left.text(mask_words.guess(explanation))
        about = "Makes this the mask that was intended."
        right.button(
            "Intended", key=f"guess:{number}", help=about, on_click=state.change, kwargs={"mask": explanation.mask}
        )


def _code(s: Scenario) -> None:
    size = sizes(s)
    shape = {"query_len": size.query_len, "key_len": size.key_len}
    shape |= {"batch_size": size.batch_size, "num_heads": s.num_heads}
    codes = conventions(mask(s.mask), **shape)
    chosen = st.selectbox("convention", list(codes), key="w:convention")
    st.code(codes[chosen], language="python")
    if chosen == "FlexAttention":
        st.text(f"{sparsity(mask(s.mask), **shape):.1%} of the blocks of 128 x 128 are empty and skipped.")


def _test(found: Checked) -> None:
    source = pytest_for(found.case)
    st.text("A test that fails on this mask and passes once the fix in it is made; it needs only torch and pytest.")
    st.download_button("Download", source, file_name="test_mask.py", mime="text/x-python", on_click="ignore")
    st.code(source, language="python")


def _link() -> None:
    st.text("This page's address reopens exactly this:")
    st.code("?" + state.link(), language=None, wrap_lines=True)
