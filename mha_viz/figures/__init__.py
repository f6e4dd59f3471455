"""Plotly figures of a Run: returned, never shown, so that a notebook, a test and the app use the same ones.

The functions here return `plotly.graph_objects.Figure`s. The modules below build the same figures as plain dicts,
which the app draws without the cost of Figure objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from mha_viz.attention.runs import Run, record_of
from mha_viz.attention.trace import Trace
from mha_viz.figures import depth, grammar, heads, long, rows, stages
from mha_viz.figures.grammar import SCALES, Scale, Spec
from mha_viz.figures.mosaic import layers as _mosaic
from mha_viz.figures.over_image import patches as _over_image

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SCALES",
    "Scale",
    "average",
    "entropies",
    "head",
    "head_grid",
    "layers",
    "links",
    "norms",
    "patches",
    "rollout",
    "row",
    "similarity",
    "stage",
]

MAX_NAMED_CELLS = 64 * 64


def head_grid(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return a heatmap [L, S] for each head of one batch item.

    Of a long sequence, whose weights are streamed, each cell shows the largest weight of a block.

    Args:
        run: The run to draw.
        layer: Index into `run.layers`.
        item: Batch item, below N.
        scale: What a colour means: the weight (`shared`), its share of the head's or the row's largest, or its log.

    Raises:
        ScenarioError: `layer` or `item` is out of bounds, or there is no such scale.
    """
    draw = heads.head_grid if record_of(run, layer, item=item).streamed is None else long.of_run
    return _figure(draw(run, layer=layer, item=item, scale=scale))


def average(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return a heatmap [L, S] of the mean over heads; arguments and errors as `head_grid`."""
    return _figure(heads.average(run, layer=layer, item=item, scale=scale))


def head(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return a heatmap [L, S] of one head; arguments and errors as `head_grid`."""
    return _figure(heads.head(run, head, layer=layer, item=item, scale=scale))


def row(run: Run, head: int = 0, query: int = 0, *, layer: int = 0, item: int = 0) -> go.Figure:
    """Return one query's weights as bars over the S keys.

    Raises:
        ScenarioError: An index is out of bounds.
    """
    return _figure(rows.row(run, head, query, layer=layer, item=item))


def links(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, query: int | None = None) -> go.Figure:
    """Return lines from query tokens to key tokens, wider for larger weights; at most 1,500 of them."""
    return _figure(rows.links(run, head, layer=layer, item=item, query=query))


def layers(run: Run, *, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return all layers (rows) and heads (columns) of one batch item at a glance, as small heatmaps.

    Raises:
        ScenarioError: `item` is out of bounds.
    """
    return _figure(_mosaic(run, item=item, scale=scale))


def rollout(run: Run, *, layer: int = 0, item: int = 0) -> go.Figure:
    """Return a heatmap of the attention rollout [L, L] up to and with one layer (Abnar and Zuidema 2020).

    Raises:
        ScenarioError: The layer is no self-attention, or an index is out of bounds.
    """
    return _figure(depth.rollout(run, item, layer))


def entropies(run: Run, *, item: int = 0) -> go.Figure:
    """Return a heatmap [layers, heads] of the mean entropy of each head's rows, in bits."""
    return _figure(depth.entropies(run, item))


def similarity(run: Run, *, layer: int = 0, item: int = 0) -> go.Figure:
    """Return a heatmap of how alike the heads are of all layers that have the shape of one layer."""
    return _figure(depth.similarity(run, item, layer))


def norms(run: Run, *, item: int = 0) -> go.Figure:
    """Return lines of the residual stream's L2 norm through the layers.

    Raises:
        ScenarioError: The run holds no norms, or `item` is out of bounds.
    """
    return _figure(depth.norms(run, item))


def stage(trace: Trace, name: str, *, item: int = 0, head: int = 0) -> go.Figure:
    """Return a heatmap of one step inside a layer, such as `scores`, for one head of one batch item.

    Raises:
        ScenarioError: There is no such stage, or an index is out of bounds.
    """
    return _figure(stages.stage(trace, name, item=item, head=head))


def patches(
    run: Run, image: Image, *, layer: int = 0, head: int | None = None, query: int = 0, item: int = 0
) -> go.Figure:
    """Return what one query of an image model looks at, drawn over the image; head=None is the average.

    Raises:
        ScenarioError: The keys are no patches of an image, or an index is out of bounds.
    """
    return _figure(_over_image(run, image, layer=layer, head=head, query=query, item=item))


def _figure(spec: Spec) -> go.Figure:
    return go.Figure({"data": [_named(trace, spec) for trace in spec["data"]], "layout": spec["layout"]})


def _named(trace: Spec, spec: Spec) -> Spec:
    """Give a small heatmap's cells their tokens for hover; a large one keeps indices only."""
    if trace.get("meta", {}).get("layer") != "weights" or trace["z"].size > MAX_NAMED_CELLS:
        return trace
    about = spec["layout"]["meta"]
    if "mosaic" in about or any("rows" in panel for panel in about["panels"]):  # rows and columns are no tokens
        return trace
    names = [[grammar.label(token) for token in about[key]] for key in ("query_tokens", "key_tokens")]
    text = np.array([[f"query {q}, key {k}" for k in names[1]] for q in names[0]], dtype=object)
    value = "customdata" if "customdata" in trace else "z"
    template = f"{trace['name']}<br>%{{text}}<br>weight %{{{value}:.4g}}<extra></extra>"
    return {**trace, "text": text, "hovertemplate": template}
