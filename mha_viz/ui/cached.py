"""Runs shared by everyone on this server, so that a class that opens one link computes once.

The cache is keyed by the Scenario's canonical text and bounded by the bytes it holds. What comes out of it is shared:
it is never changed.
"""

from __future__ import annotations

import os

import streamlit as st

from mha_viz import attention, gallery
from mha_viz.attention import memory
from mha_viz.attention.records import Run
from mha_viz.figures.thumbnail import Pixels
from mha_viz.figures.thumbnail import thumbnail as draw_thumbnail
from mha_viz.inputs.assemble import sizes
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario

BUDGET_VARIABLE = "MHA_VIZ_CACHE_MB"
DEFAULT_BUDGET_MB = 512
QUICK_BYTES = 100 * 2**20


def _size(run: Run) -> int:
    """Count the bytes of a run's tensors, the average over heads included."""
    held = [run.inputs.query, run.inputs.key, run.inputs.value]
    for layer in run.layers:
        held += [layer.weights, layer.average, layer.output]
    return sum(t.numel() * t.element_size() for t in held)


@remembered(
    float(os.environ.get(BUDGET_VARIABLE, DEFAULT_BUDGET_MB)), key=lambda scenario: scenario.to_query(), size=_size
)
def run(scenario: Scenario) -> Run:
    """Return the Run of a Scenario; errors are as those of `mha_viz.run`."""
    return attention.run(scenario)


def run_with_spinner(scenario: Scenario) -> Run:
    """Return the Run of a Scenario, with a spinner while a large one is computed."""
    if memory.estimate(scenario, sizes(scenario)) < QUICK_BYTES:
        return run(scenario)
    with st.spinner("Running the layer", show_time=True):
        return run(scenario)


@st.cache_data(max_entries=len(gallery.EXAMPLES), show_spinner=False)
def thumbnail(example: str) -> Pixels:
    """Return the small picture of an example of the gallery."""
    return draw_thumbnail(run(gallery.named(example).scenario))
