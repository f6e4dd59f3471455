"""The part of a message that decides what Plotly draws: axes, labels, titles and colour bars, without any cells.

What the rows and columns of each panel are (`axes`) links it to the others of the page: the cursor on query 3 marks row
3 of every panel whose rows are queries. Panels of a figure without such names show queries × keys.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.colors

from mha_viz.ui import assets
from mha_viz.ui.buffers import unpacked
from mha_viz.ui.finer import Finer

Spec = Mapping[str, Any]

ROWS, COLUMNS = "query", "key"
"""What a panel's rows and columns are unless its entry in the figure's `meta["panels"]` says otherwise."""


def layer(spec: Spec, name: str) -> list[Mapping[str, Any]]:
    """Return the heatmaps that are lifted out of a figure: those of `weights`, or of `state`."""
    return [trace for trace in spec["data"] if _layer_of(trace) == name]


def _layer_of(trace: Mapping[str, Any]) -> str | None:
    meta = trace.get("meta")
    return meta.get("layer") if trace.get("type") == "heatmap" and isinstance(meta, Mapping) else None


def subplot(trace: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the axes that a trace is drawn on."""
    return trace.get("xaxis") or "x", trace.get("yaxis") or "y"


def about_panels(spec: Spec) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return what a figure's `meta["panels"]` says, by the names of each panel's axes."""
    meta = (spec.get("layout") or {}).get("meta")
    panels = meta.get("panels", ()) if isinstance(meta, Mapping) else ()
    return {(p.get("xaxis", "x"), p.get("yaxis", "y")): p for p in panels}


def skeleton(spec: Spec, weights: Sequence[Mapping[str, Any]], finer: Finer | None = None) -> dict[str, Any]:
    """Return all of a figure but its cells.

    Args:
        spec: the figure.
        weights: its heatmaps, one a panel.
        finer: what its panels are blocks of; rows, columns and tokens are then those of the whole.
    """
    layout = dict(spec.get("layout") or {})
    meta = layout.pop("meta", None)
    meta = meta if isinstance(meta, Mapping) else {}
    about = about_panels(spec)
    queries, keys = finer.sent if finer else (meta.get("query_tokens") or (), meta.get("key_tokens") or ())
    others = [trace for trace in spec["data"] if _layer_of(trace) not in ("weights", "state")]
    pool = meta.get("pool") or 1
    panels = [_panel(trace, {"pool": pool, **about.get(subplot(trace), {})}, finer) for trace in weights]
    own = {axis for panel in panels for axis in (panel["xaxis"], panel["yaxis"])}
    # With further axes in the figure its own arrangement is kept; else the browser arranges the panels by its width.
    arranged = all(axis in own for trace in others for axis in subplot(trace)) and bool(panels)
    if arranged:
        layout = {name: value for name, value in layout.items() if not name.startswith(("xaxis", "yaxis"))}
        titles = [text(panel.get("title", "")) for panel in about.values()]
        shown = {form for title in titles for form in (title, html.escape(title), html.escape(title, False))}
        layout["annotations"] = [a for a in layout.get("annotations") or () if a.get("text") not in shown]
    return {
        "plotly": assets.PLOTLY_FILE,
        "panels": panels,
        "others": others,
        "layout": layout,
        "arranged": arranged,
        "mosaic": meta.get("mosaic"),
        "queries": [text(token) for token in queries],
        "keys": [text(token) for token in keys],
        "named": list(finer.named) if finer else None,
        "columns": meta.get("columns") or len(panels),
        "queryTitle": text(meta.get("query_title", "query")),
        "keyTitle": text(meta.get("key_title", "key")),
        "valueTitle": text(meta.get("value_title", "weight")),
    }


def _panel(trace: Mapping[str, Any], about: Mapping[str, Any], finer: Finer | None) -> dict[str, Any]:
    x, y = subplot(trace)
    rows, columns = unpacked(trace["z"]).shape if finer is None else (finer.rows, finer.columns)
    return {
        "title": text(about.get("title", trace.get("name") or "")),
        "value": text(about.get("value_title", "")),
        "xaxis": x,
        "yaxis": y,
        "rows": rows,
        "columns": columns,
        "side": 1 if finer is None else finer.side,
        "axes": [text(about.get("rows", ROWS)), text(about.get("columns", COLUMNS))],
        "pool": 1 if finer else about["pool"],
        "pooling": text(about.get("pooling", "largest")),
        "colorscale": _colorscale(trace.get("colorscale")),
        "bar": dict(trace.get("colorbar") or {}) if trace.get("showscale", True) else None,
    }


def _colorscale(scale: Any) -> Any:
    """Return a colour scale as pairs of place and colour; Plotly also takes a name."""
    return scale if isinstance(scale, (list, tuple)) else plotly.colors.get_colorscale(scale or "Viridis")


def text(value: object) -> str:
    """Return text that can be sent: a lone surrogate, which UTF-8 does not have, becomes a question mark."""
    return str(value).encode("utf-8", "replace").decode()
