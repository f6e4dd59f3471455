"""Runs and figures shared by everyone on this server, so that a class that opens one link computes once.

The caches are keyed by what a run comes from and bounded by the bytes they hold. What comes out of them is shared:
it is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import cachetools
import streamlit as st

from mha_viz import attention, environment, gallery
from mha_viz.attention import long, memory
from mha_viz.attention.runs import Run
from mha_viz.figures import heads
from mha_viz.figures.grammar import Scale, Spec
from mha_viz.figures.mosaic import layers
from mha_viz.figures.thumbnail import data_url
from mha_viz.figures.thumbnail import thumbnail as draw_thumbnail
from mha_viz.inputs.assemble import sizes as input_sizes
from mha_viz.pretrained import Reading
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario
from mha_viz.ui import exhausted, limits, origin, plot, sizes, waiting, words
from mha_viz.ui.origin import Origin, RunFile

BUDGET_VARIABLE = "MHA_VIZ_CACHE_MB"
"""Environment variable: megabytes of runs that are kept for everyone."""

_alive: WeakValueDictionary[tuple[str, str, int], Run] = WeakValueDictionary()
"""Runs that a page is drawing, kept or not: one that is larger than the budget is not computed for every panel."""


def run(source: Origin) -> Run:
    """Return the Run of an origin; a heavy one that is not here yet is computed when its turn comes.

    Errors are those of `mha_viz.run` and of `mha_viz.pretrained.read`; or a CapacityError says that memory has run
    out, or that too many wait; or an InputError that a file is no longer here.
    """
    if isinstance(source, RunFile):
        return origin.kept(source)
    with exhausted.memory(), in_turn(source):
        found = None if _is_kept(source) else _alive.get(origin.key(source))
        if found is None:
            found = _of_scenario(source) if isinstance(source, Scenario) else _of_reading(source)
            _alive[origin.key(source)] = found
        return found


def is_long(source: Origin) -> bool:
    """Return whether the weights of an origin are shown without holding them all."""
    if not isinstance(source, Scenario):
        return False
    size = input_sizes(source)
    return memory.estimate(source, size) > limits.held_bytes() and long.fits(source, size)


def shown(source: Origin) -> Run:
    """Return the Run of an origin, streamed if it is long; errors as of `run`."""
    if not is_long(source):
        return run_with_spinner(source)
    with exhausted.memory():
        return _long(source)


@contextmanager
def in_turn(source: Origin) -> Iterator[None]:
    """Hold the block until its turn, if what is made of this origin is heavy and not made yet.

    Raises:
        CapacityError: It would be refused when its turn comes, or too many wait.
    """
    if _is_known(source) or not is_heavy(source):
        yield
        return
    if isinstance(source, Scenario):
        memory.check(source, input_sizes(source))
    with waiting.turn(lambda: _is_known(source)):
        yield


@contextmanager
def turn(source: Origin | None = None) -> Iterator[None]:
    """Hold the block, which works something out for the first time, until its turn.

    Args:
        source: What it is worked out of, which needs no turn if it is light; None for what always needs one.
    """
    if source is not None and not is_heavy(source):
        yield
        return
    with waiting.turn(needless=lambda: False):
        yield


def is_heavy(source: Origin) -> bool:
    """Return whether computing the Run of an origin may take longer than others should wait for."""
    if isinstance(source, RunFile):
        return False
    if isinstance(source, Reading):
        return bool(source.model)
    return memory.estimate(source, input_sizes(source)) > limits.heavy_bytes()


def _is_known(source: Origin) -> bool:
    return isinstance(source, RunFile) or _is_kept(source) or origin.key(source) in _alive


def _is_kept(source: Origin) -> bool:
    kept = _of_scenario if isinstance(source, Scenario) else _of_reading
    found: cachetools.Cache[object, Run] = kept.cache  # type: ignore[attr-defined]  # cachetools adds it
    return origin.key(source) in found


@remembered(environment.number(BUDGET_VARIABLE, 512, low=0, high=2**30), key=origin.key, size=sizes.run_bytes)
def _of_scenario(source: Origin) -> Run:
    assert isinstance(source, Scenario)
    memory.check(source, input_sizes(source))  # who asks here needs all weights at once
    return attention.run(source)


@remembered(environment.number(BUDGET_VARIABLE, 512, low=0, high=2**30), key=origin.key, size=sizes.run_bytes)
def _long(source: Origin) -> Run:
    assert isinstance(source, Scenario)
    return long.run(source)


@remembered(256, key=origin.key, size=sizes.run_bytes)
def _of_reading(source: Origin) -> Run:
    assert isinstance(source, Reading)
    return origin.read(source)


def _characters(lines: list[str]) -> int:
    return sum(len(line) for line in lines)


# A click on a cell draws the same figures and lines again, with another cell marked.
@remembered(64, key=lambda source, *at: (origin.key(source), at, plot.most_cells()), size=sizes.figure_bytes)
def head_grid(source: Origin, layer: int, item: int, scale: Scale) -> Spec:
    """Return the heatmaps of all heads of one layer, in as many cells as are sent."""
    return heads.head_grid(run(source), layer=layer, item=item, scale=scale, cells=plot.most_cells())


@remembered(64, key=lambda source, *at: (origin.key(source), at, plot.most_cells()), size=sizes.figure_bytes)
def detail(source: Origin, layer: int, head: int, item: int, scale: Scale) -> Spec:
    """Return the heatmaps of the average, one head and its mask, in as many cells as are sent."""
    return heads.detail(run(source), head, layer=layer, item=item, scale=scale, cells=plot.most_cells())


@remembered(64, key=lambda source, item, scale: (origin.key(source), item, scale), size=sizes.figure_bytes)
def overview(source: Origin, item: int, scale: Scale) -> Spec:
    """Return all layers and heads at a glance."""
    return layers(run(source), item=item, scale=scale)


@remembered(1, key=lambda source, layer, item: (origin.key(source), layer, item), size=_characters)
def caption(source: Origin, layer: int, item: int) -> list[str]:
    """Return the lines below the heatmaps of one layer."""
    return words.caption(run(source), item, layer)


def run_with_spinner(source: Origin) -> Run:
    """Return the Run of an origin, with a spinner while a heavy one is computed and its figures are made."""
    if _is_known(source) or not is_heavy(source):
        return run(source)
    said = f"Reading with the model {source.model}" if isinstance(source, Reading) else "Running the layer"
    with exhausted.memory(), in_turn(source), st.spinner(said, show_time=True):
        found = run(source)
        if isinstance(source, Scenario):
            head_grid(source, 0, 0, "shared")
            caption(source, 0, 0)
        return found


@st.cache_data(max_entries=len(gallery.EXAMPLES), show_spinner=False)
def thumbnail(example: str) -> str:
    """Return the small picture of an example of the gallery, as a URL that holds it."""
    return data_url(draw_thumbnail(run(gallery.named(example).scenario)))
