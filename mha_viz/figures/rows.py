"""One query's weights as bars, and all of a head's weights as lines from query tokens to key tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mha_viz.attention.runs import Run, record_of
from mha_viz.figures import grammar, states
from mha_viz.figures.grammar import Spec

MAX_LINES = 1_500
SHADES = 8


def row(run: Run, head: int = 0, query: int = 0, *, layer: int = 0, item: int = 0, key: int | None = None) -> Spec:
    """Return one query's weights as bars over the keys, with `key` picked out and masked keys named."""
    record = record_of(run, layer, item=item, head=head, query=query)
    keys = record.weights.shape[3]
    weights = record.held[item, head, query].float().cpu().numpy()
    head_codes = states.of_head(record, item, head)
    codes = np.zeros(keys, dtype=np.uint8) if head_codes is None else head_codes[query]
    tokens = run.key_tokens(item, layer)
    top = float(np.nan_to_num(weights, nan=0.0).max(initial=0.0)) or 1.0
    colours = [_bar_colour(int(code), k == key) for k, code in enumerate(codes)]
    bars = {
        "type": "bar",
        "x": list(range(keys)),
        "y": weights,
        "marker": {"color": colours, "line": {"width": 0}},
        "customdata": [f"{grammar.label(tokens[k])} {_said(int(codes[k]))}" for k in range(keys)],
        "hovertemplate": "key %{x} %{customdata}<br>weight %{y:.4g}<extra></extra>",
        "showlegend": False,
    }
    hidden = [k for k in range(keys) if codes[k] in (grammar.MASKED, grammar.PADDED, grammar.BOTH)]
    marks = {
        "type": "scatter",
        "mode": "markers",
        "x": hidden,
        "y": [0.0] * len(hidden),
        "marker": {"symbol": "line-ne-open", "size": 8, "color": grammar.MASKED_COLOUR},
        "hovertemplate": "key %{x}: masked<extra></extra>",
        "showlegend": False,
    }
    step = max(1, -(-keys // 32))
    layout = {
        "height": 260,
        "margin": {"l": 50, "r": 10, "t": 10, "b": 60},
        "xaxis": {
            "tickvals": list(range(0, keys, step)),
            "ticktext": [grammar.label(tokens[k]) for k in range(0, keys, step)],
            "title": {"text": "key"},
            "showgrid": False,
            "zeroline": False,
            "range": [-0.5, keys - 0.5],
        },
        "yaxis": {"title": {"text": "weight"}, "range": [-0.04 * top, 1.08 * top], "zeroline": False},
        "bargap": 0.15,
    }
    return {"data": [bars, marks], "layout": layout}


def _bar_colour(code: int, chosen: bool) -> str:
    if code == grammar.VIOLATION:
        return grammar.WARNING_COLOUR
    return "rgb(253,180,37)" if chosen else "rgb(33,144,141)"


def _said(code: int) -> str:
    return f"({grammar.STATE_WORDS[code]})" if code else ""


def links(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, query: int | None = None) -> Spec:
    """Return lines from query tokens (left) to key tokens (right), darker and wider for larger weights.

    At most 1,500 lines are drawn, the largest weights first; the title says so when some are left out. With `query`,
    that query's lines stand out and the others turn grey.
    """
    record = record_of(run, layer, item=item, head=head, query=query or 0)
    weights = record.held[item, head].float().nan_to_num(nan=0.0).cpu()  # [L, S]
    length, keys = weights.shape
    values, where = weights.flatten().topk(min(MAX_LINES, weights.numel()))
    values, where = values[values > 0], where[values > 0]
    top = float(values[0]) if len(values) else 1.0
    shade = (values / top * SHADES).ceil().long().clamp(1, SHADES)
    chosen = torch.ones_like(where, dtype=torch.bool) if query is None else where // keys == query
    data = [_shade(where[(shade == n) & chosen], (length, keys), n) for n in range(1, SHADES + 1)]
    if query is not None:
        data = [
            _shade(where[(shade == n) & ~chosen], (length, keys), n, faint=True) for n in range(1, SHADES + 1)
        ] + data
    data.append(_ends(run.query_tokens(item, layer), 0, "middle left"))
    data.append(_ends(run.key_tokens(item, layer), 1, "middle right"))
    total = int((weights > 0).sum())
    title = f"the {len(values):,} largest of {total:,} weights" if len(values) < total else ""
    layout: dict[str, Any] = {
        "height": max(300, 22 * min(max(length, keys), 40) + 60),
        "margin": {"l": 10, "r": 10, "t": 40 if title else 10, "b": 10},
        "xaxis": {"visible": False, "range": [-0.35, 1.35], "fixedrange": True},
        "yaxis": {"visible": False, "range": [1.02, -0.02]},
        "showlegend": False,
        "hovermode": "closest",
        "title": {"text": title, "font": {"size": 12}},
    }
    return {"data": data, "layout": layout}


def _shade(where: torch.Tensor, shape: tuple[int, int], shade: int, *, faint: bool = False) -> dict[str, Any]:
    """Return one trace for all lines of one width; gaps (None) stand between them."""
    length, keys = shape
    starts, ends = _height(where // keys, length).tolist(), _height(where % keys, keys).tolist()
    strength = 0.15 if faint else 0.08 + 0.85 * shade / SHADES
    colour = "128,128,128" if faint else "33,144,141"
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [0.0, 1.0, None] * len(starts),
        "y": [y for start, end in zip(starts, ends, strict=True) for y in (start, end, None)],
        "line": {"width": 0.5 + 3.5 * shade / SHADES, "color": f"rgba({colour},{strength:.2f})"},
        "hoverinfo": "skip",
    }


def _height(index: torch.Tensor, count: int) -> torch.Tensor:
    return (index + 0.5) / count


def _ends(tokens: tuple[str, ...], x: float, side: str) -> dict[str, Any]:
    count = len(tokens)
    step = max(1, -(-count // 60))
    shown = list(range(0, count, step))
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [x] * len(shown),
        "y": [(i + 0.5) / count for i in shown],
        "text": [grammar.label(tokens[i]) for i in shown],
        "textposition": side,
        "marker": {"size": 4, "color": "rgb(33,144,141)"},
        "customdata": shown,
        "hovertemplate": "%{customdata} %{text}<extra></extra>",
        "cliponaxis": False,
    }
