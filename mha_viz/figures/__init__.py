"""Plotly figures of a Run: returned, never shown, so that a notebook, a test and the app use the same ones.

The functions here return `plotly.graph_objects.Figure`s. The modules below build the same figures as plain dicts,
which the app draws without the cost of Figure objects.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from mha_viz.attention.records import Run
from mha_viz.figures import grammar, heads, rows
from mha_viz.figures.grammar import SCALES, Scale, Spec

__all__ = ["SCALES", "Scale", "average", "head", "head_grid", "links", "row"]

MAX_NAMED_CELLS = 64 * 64


def head_grid(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return a heatmap [L, S] for each head of one batch item.

    Args:
        run: The run to draw.
        layer: Index into `run.layers`.
        item: Batch item, below N.
        scale: What a colour means: the weight (`shared`), its share of the head's or the row's largest, or its log.

    Raises:
        ScenarioError: `item` is out of bounds.
    """
    return _figure(heads.head_grid(run, layer=layer, item=item, scale=scale))


def average(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return a heatmap [L, S] of the mean over heads; arguments and errors as `head_grid`."""
    return _figure(heads.average(run, layer=layer, item=item, scale=scale))


def head(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> go.Figure:
    """Return a heatmap [L, S] of one head; arguments and errors as `head_grid`."""
    return _figure(heads.head(run, head, layer=layer, item=item, scale=scale))


def row(run: Run, head: int = 0, query: int = 0, *, layer: int = 0, item: int = 0) -> go.Figure:
    """Return one query's weights as bars over the S keys.

    Raises:
        ScenarioError: `query` is out of bounds.
    """
    return _figure(rows.row(run, head, query, layer=layer, item=item))


def links(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, query: int | None = None) -> go.Figure:
    """Return lines from query tokens to key tokens, wider for larger weights; at most 1,500 of them."""
    return _figure(rows.links(run, head, layer=layer, item=item, query=query))


def _figure(spec: Spec) -> go.Figure:
    return go.Figure({"data": [_named(trace, spec) for trace in spec["data"]], "layout": spec["layout"]})


def _named(trace: Spec, spec: Spec) -> Spec:
    """Give a small heatmap's cells their tokens for hover; a large one keeps indices only."""
    if trace.get("meta", {}).get("layer") != "weights" or trace["z"].size > MAX_NAMED_CELLS:
        return trace
    about = spec["layout"]["meta"]
    names = [[grammar.label(token) for token in about[key]] for key in ("query_tokens", "key_tokens")]
    text = np.array([[f"query {q}, key {k}" for k in names[1]] for q in names[0]], dtype=object)
    value = "customdata" if "customdata" in trace else "z"
    template = f"{trace['name']}<br>%{{text}}<br>weight %{{{value}:.4g}}<extra></extra>"
    return {**trace, "text": text, "hovertemplate": template}
