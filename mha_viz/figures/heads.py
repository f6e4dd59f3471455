"""Heatmaps of weights: all heads, their average, one head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run, record_of
from mha_viz.figures import grammar, pooling, states
from mha_viz.figures.grammar import Codes, Floats, Scale, Spec
from mha_viz.figures.panel import Panel, blocks, factor

MAX_COLUMNS = 4
GAP = 0.05


def head_grid(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared", cells: int | None = None) -> Spec:
    """Return a heatmap for each head of one batch item, of at most so many cells in all, or `pooling.MAX_CELLS`."""
    panels = head_panels(run, layer=layer, item=item, scale=scale)
    return spec_of(run, layer, item, panels, factor(panels, cells))


def head_panels(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> list[Panel]:
    """Return the panels of `head_grid`, with all cells."""
    record = record_of(run, layer, item=item)
    weights = _array(record.held[item])  # [H, L, S]
    titles = [record.head_name(h) for h in range(len(weights))]
    return _panels(weights, states.of_heads(record, item), titles, scale)


def average(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> Spec:
    """Return a heatmap of the mean over heads of one batch item."""
    record = record_of(run, layer, item=item)
    weights = _array(record.average[item])[None]  # [1, L, S]
    codes = [states.of_average(record, item)]
    return spec_of(run, layer, item, _panels(weights, codes, [_average_title(record)], scale))


def head(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> Spec:
    """Return a heatmap of one head of one batch item."""
    record = record_of(run, layer, item=item, head=head)
    weights = _array(record.held[item, head])[None]  # [1, L, S]
    codes = [states.of_head(record, item, head)]
    return spec_of(run, layer, item, _panels(weights, codes, [record.head_name(head)], scale))


def detail(
    run: Run, head: int = 0, *, layer: int = 0, item: int = 0, scale: Scale = "shared", cells: int | None = None
) -> Spec:
    """Return three heatmaps with common axes: the average, one head, and that head's mask; cells as `head_grid`."""
    panels = detail_panels(run, head, layer=layer, item=item, scale=scale)
    return spec_of(run, layer, item, panels, factor(panels, cells))


def detail_panels(run: Run, head: int = 0, *, layer: int = 0, item: int = 0, scale: Scale = "shared") -> list[Panel]:
    """Return the panels of `detail`, with all cells."""
    record = record_of(run, layer, item=item, head=head)
    weights = _array(torch.stack([record.average[item], record.held[item, head]]))  # [2, L, S]
    codes = [states.of_average(record, item), states.of_head(record, item, head)]
    panels = _panels(weights, codes, [_average_title(record), record.head_name(head)], scale)
    mask = Panel(
        title=f"mask of {record.head_name(head)}",
        values=_array(torch.ones(weights.shape[1:])),
        weights=weights[1],
        codes=states.of_mask(record, item, head),
        low=0.0,
        high=1.0,
        colours=[(0.0, grammar.ALLOWED_COLOUR), (1.0, grammar.ALLOWED_COLOUR)],
        bar=None,
    )
    return [*panels, mask]


def _average_title(record: LayerAttention) -> str:
    return f"average of {record.weights.shape[1]} heads"


def _array(weights: Tensor) -> Floats:
    found: Floats = weights.float().cpu().numpy()
    return found


def _panels(weights: Floats, codes: Sequence[Codes | None], titles: list[str], scale: Scale) -> list[Panel]:
    values, low, high, bar = grammar.scaled(weights, scale)
    found = []
    for p, title in enumerate(titles):
        exact = weights[p]
        shown = exact if values is weights else values[p]
        found.append(Panel(title, shown, exact, codes[p], low, high, grammar.WEIGHT_COLOURS, None if p else bar))
    return found


def spec_of(run: Run, layer: int, item: int, panels: list[Panel], side: int | None = None) -> Spec:
    """Return panels of equal shape side by side, with the run's tokens on their axes.

    Cells are blocks of `side` × `side` weights; by default, as large ones as bring them down to `pooling.MAX_CELLS`.
    """
    side = side or factor(panels)
    names = (run.query_tokens(item, layer), run.key_tokens(item, layer))
    query, key = (pooling.labels(tokens, side) for tokens in names)
    return arranged(blocks(panels, side), query, key, side)


def arranged(panels: list[Panel], query_labels: tuple[str, ...], key_labels: tuple[str, ...], side: int) -> Spec:
    """Return panels of equal shape side by side, whose cells are blocks of `side` × `side` weights."""
    data = [trace for index, panel in enumerate(panels) for trace in _traces(panel, index)]
    layout = _layout([panel.title for panel in panels], query_labels, key_labels)
    layout["meta"]["pool"] = side
    return {"data": data, "layout": layout}


def _traces(panel: Panel, index: int) -> list[dict[str, Any]]:
    axes = {"xaxis": _axis("x", index), "yaxis": _axis("y", index)}
    exact = panel.values is panel.weights
    weights = {
        "type": "heatmap",
        "z": panel.values,
        "zmin": panel.low,
        "zmax": panel.high,
        "colorscale": panel.colours,
        "showscale": panel.bar is not None,
        "colorbar": {"thickness": 12, "outlinewidth": 0, **(panel.bar or {})},
        "name": panel.title,
        "meta": {"layer": "weights", "panel": index},
        "hovertemplate": f"{panel.title}<br>query %{{y}}, key %{{x}}<br>"
        f"weight %{{{'z' if exact else 'customdata'}:.4g}}<extra></extra>",
        **({} if exact else {"customdata": panel.weights}),
        **axes,
    }
    if panel.codes is None:
        return [weights]
    state = {
        "type": "heatmap",
        "z": panel.codes,
        "zmin": -0.5,
        "zmax": grammar.VIOLATION + 0.5,
        "colorscale": grammar.STATE_COLOURSCALE,
        "showscale": False,
        "hoverinfo": "skip",
        "meta": {"layer": "state", "panel": index},
        **axes,
    }
    return [weights, state]


def _axis(letter: str, panel: int) -> str:
    return letter if panel == 0 else f"{letter}{panel + 1}"


def _layout(titles: list[str], query_tokens: tuple[str, ...], key_tokens: tuple[str, ...]) -> dict[str, Any]:
    columns = min(MAX_COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    layout: dict[str, Any] = {
        "meta": {
            "panels": [{"title": t, "xaxis": _axis("x", p), "yaxis": _axis("y", p)} for p, t in enumerate(titles)],
            "query_tokens": list(query_tokens),
            "key_tokens": list(key_tokens),
            "columns": columns,
            "query_title": "query",
            "key_title": "key",
        },
        "annotations": [],
        "margin": {"l": 60, "r": 20, "t": 40, "b": 50},
        "height": 120 + rows * (260 if len(titles) > 1 else 440),
    }
    key_axis, query_axis = _axis_layout(key_tokens, columns), _axis_layout(query_tokens, rows)
    for panel, title in enumerate(titles):
        across, down = panel % columns, panel // columns
        x, y = _span(across, columns), _span(rows - 1 - down, rows)
        suffix = "" if panel == 0 else str(panel + 1)
        layout[f"xaxis{suffix}"] = key_axis | {
            "title": {"text": "key" if down == rows - 1 else ""},
            "domain": x,
            "anchor": _axis("y", panel),
            "range": [-0.5, len(key_tokens) - 0.5],
        }
        layout[f"yaxis{suffix}"] = query_axis | {
            "title": {"text": "query" if across == 0 else ""},
            "domain": y,
            "anchor": _axis("x", panel),
            "range": [len(query_tokens) - 0.5, -0.5],
        }
        layout["annotations"].append(
            {
                "text": grammar.label(title),
                "x": sum(x) / 2,
                "y": y[1],
                "xref": "paper",
                "yref": "paper",
                "yanchor": "bottom",
                "showarrow": False,
            }
        )
    return layout


def _span(place: int, count: int) -> list[float]:
    width = (1 - GAP * (count - 1)) / count
    return [place * (width + GAP), place * (width + GAP) + width]


def _axis_layout(tokens: tuple[str, ...], panels: int) -> dict[str, Any]:
    """Label at most as many tokens as have room: about 40 across the figure."""
    step = max(1, -(-len(tokens) * panels // 40))
    shown = np.arange(0, len(tokens), step)
    return {
        "tickvals": shown.tolist(),
        "ticktext": [grammar.label(tokens[i]) for i in shown],
        "showgrid": False,
        "zeroline": False,
        "automargin": False,
    }
