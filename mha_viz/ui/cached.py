"""Runs and figures shared by everyone on this server, so that a class that opens one link computes once.

The caches are keyed by what a run comes from and bounded by the bytes they hold. What comes out of them is shared:
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
from mha_viz.figures.mosaic import layers
from mha_viz.figures.thumbnail import data_url
from mha_viz.figures.thumbnail import thumbnail as draw_thumbnail
from mha_viz.inputs.assemble import sizes as input_sizes
from mha_viz.pretrained import Reading
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario
from mha_viz.ui import origin, sizes, words
from mha_viz.ui.origin import Origin, RunFile

BUDGET_VARIABLE = "MHA_VIZ_CACHE_MB"
DEFAULT_BUDGET_MB = 512
QUICK_BYTES = 100 * 2**20


def run(source: Origin) -> Run:
    """Return the Run of an origin.

    Errors are those of `mha_viz.run` and of `mha_viz.pretrained.read`, or say that a file is no longer here.
    """
    if isinstance(source, Scenario):
        return _of_scenario(source)
    return _of_reading(source) if isinstance(source, Reading) else origin.kept(source)


@remembered(float(os.environ.get(BUDGET_VARIABLE, DEFAULT_BUDGET_MB)), key=origin.key, size=sizes.run_bytes)
def _of_scenario(source: Origin) -> Run:
    assert isinstance(source, Scenario)
    return attention.run(source)


@remembered(256, key=origin.key, size=sizes.run_bytes)
def _of_reading(source: Origin) -> Run:
    assert isinstance(source, Reading)
    return origin.read(source)


def _characters(lines: list[str]) -> int:
    return sum(len(line) for line in lines)


# A click on a cell draws the same figures and lines again, with another cell marked.
@remembered(
    128, key=lambda source, layer, item, scale: (origin.key(source), layer, item, scale), size=sizes.figure_bytes
)
def head_grid(source: Origin, layer: int, item: int, scale: Scale) -> Spec:
    """Return the heatmaps of all heads of one layer."""
    return heads.head_grid(run(source), layer=layer, item=item, scale=scale)


@remembered(128, key=lambda source, *at: (origin.key(source), at), size=sizes.figure_bytes)
def detail(source: Origin, layer: int, head: int, item: int, scale: Scale) -> Spec:
    """Return the heatmaps of the average, one head and its mask."""
    return heads.detail(run(source), head, layer=layer, item=item, scale=scale)


@remembered(64, key=lambda source, item, scale: (origin.key(source), item, scale), size=sizes.figure_bytes)
def overview(source: Origin, item: int, scale: Scale) -> Spec:
    """Return all layers and heads at a glance."""
    return layers(run(source), item=item, scale=scale)


@remembered(1, key=lambda source, layer, item: (origin.key(source), layer, item), size=_characters)
def caption(source: Origin, layer: int, item: int) -> list[str]:
    """Return the lines below the heatmaps of one layer."""
    return words.caption(run(source), item, layer)


def run_with_spinner(source: Origin) -> Run:
    """Return the Run of an origin, with a spinner while a large one is computed and its figures are made."""
    if isinstance(source, Reading):
        with st.spinner(f"Reading with the model {source.model}", show_time=True):
            return run(source)
    if isinstance(source, RunFile) or memory.estimate(source, input_sizes(source)) < QUICK_BYTES:
        return run(source)
    with st.spinner("Running the layer", show_time=True):
        found = run(source)
        head_grid(source, 0, 0, "shared")
        caption(source, 0, 0)
        return found


@st.cache_data(max_entries=len(gallery.EXAMPLES), show_spinner=False)
def thumbnail(example: str) -> str:
    """Return the small picture of an example of the gallery, as a URL that holds it."""
    return data_url(draw_thumbnail(run(gallery.named(example).scenario)))
