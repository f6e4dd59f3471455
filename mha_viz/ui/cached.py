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
from mha_viz.figures import heads
from mha_viz.figures.grammar import Scale, Spec
from mha_viz.figures.thumbnail import data_url
from mha_viz.figures.thumbnail import thumbnail as draw_thumbnail
from mha_viz.inputs.assemble import sizes
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario
from mha_viz.ui import words

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


def _characters(lines: list[str]) -> int:
    return sum(len(line) for line in lines)


def _cells(spec: Spec) -> int:
    return sum(trace["z"].nbytes for trace in spec["data"])


# A click on a cell draws the same figures and lines again, with another cell marked.
@remembered(128, key=lambda scenario, item, scale: (scenario.to_query(), item, scale), size=_cells)
def head_grid(scenario: Scenario, item: int, scale: Scale) -> Spec:
    """Return the heatmaps of all heads of a Scenario's Run."""
    return heads.head_grid(run(scenario), item=item, scale=scale)


@remembered(128, key=lambda scenario, head, item, scale: (scenario.to_query(), head, item, scale), size=_cells)
def detail(scenario: Scenario, head: int, item: int, scale: Scale) -> Spec:
    """Return the heatmaps of the average, one head and its mask of a Scenario's Run."""
    return heads.detail(run(scenario), head, item=item, scale=scale)


@remembered(1, key=lambda scenario, item: (scenario.to_query(), item), size=_characters)
def caption(scenario: Scenario, item: int) -> list[str]:
    """Return the lines below the heatmaps of a Scenario's Run."""
    return words.caption(run(scenario), item)


def run_with_spinner(scenario: Scenario) -> Run:
    """Return the Run of a Scenario, with a spinner while a large one is computed and its figures are made."""
    if memory.estimate(scenario, sizes(scenario)) < QUICK_BYTES:
        return run(scenario)
    with st.spinner("Running the layer", show_time=True):
        head_grid(scenario, 0, "shared")
        caption(scenario, 0)
        return run(scenario)


@st.cache_data(max_entries=len(gallery.EXAMPLES), show_spinner=False)
def thumbnail(example: str) -> str:
    """Return the small picture of an example of the gallery, as a URL that holds it."""
    return data_url(draw_thumbnail(run(gallery.named(example).scenario)))
