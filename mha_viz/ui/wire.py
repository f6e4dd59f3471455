"""A figure as the bytes that the plot component draws.

    u32 little-endian   length of the header
    header              JSON, padded with spaces so that what follows starts at a multiple of 8
    buffers             each at a multiple of 8: colour indices (u8), states (u8), exact values (little-endian f4)

The header has `figure`, which decides what Plotly draws (axes, labels, colour bars), and `frame`, which changes with
the data: as long as `figure` stays the same, the browser repaints cells and touches no Plotly code.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import plotly.colors
from numpy.typing import NDArray

from mha_viz.ui import assets, values
from mha_viz.ui.buffers import Body, unpacked

Spec = Mapping[str, Any]
Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

INLINE_LIMIT = 2**20
"""Bytes of exact values up to which they travel with the figure; more is fetched where somebody points."""

NAN_CODE = 4


@dataclass(frozen=True, eq=False)
class Paint:
    """What the browser has to know about painting.

    Attributes:
        panels: numbers of the panels that can be painted on.
        allowed: bool [L, S], which cells of them are allowed now; without it, those that no state hides.
        answered: number of the message from the browser that this figure is the answer to.
    """

    panels: Sequence[int]
    allowed: NDArray[np.bool_] | None = None
    answered: int | None = None


def encode(
    spec: Spec,
    *,
    alt: str = "",
    selected: tuple[int, int, int] | None = None,
    filename: str = "attention",
    heading: str = "",
    lines: Sequence[str] = (),
    paint: Paint | None = None,
    inline_limit: int = INLINE_LIMIT,
    deferred: bool | None = None,
    revision: str | None = None,
) -> bytes:
    """Return the bytes of a figure for the component.

    Args:
        spec: a Plotly figure as a dict with `data` and `layout`; heatmaps whose `meta["layer"]` is `"weights"` or
            `"state"` are lifted out, every other trace is left to Plotly.
        alt: what a screen reader says the figure is.
        selected: (panel, query, key) of a cell to outline.
        filename: name of downloaded images, without an ending.
        heading: a line of text above the figure.
        lines: lines of text below it.
        paint: which panels can be painted on, if any.
        inline_limit: bytes of exact values up to which they are sent along.
        deferred: whether more than that may wait on the server; by default, if the server has the route.
        revision: what `data-painted` shows once this is on the screen, different for different figures; by default a
            digest of everything sent.

    Raises:
        TypeError: a trace or the layout holds something that JSON and NumPy do not have.
    """
    body = Body()
    weights = _layer(spec, "weights")
    states = {_axes(trace): _codes(trace["z"], body) for trace in _layer(spec, "state")}
    panels = [_panel(trace, states.get(_axes(trace)), body) for trace in weights]
    exact = {id(panel["values"]): panel["values"].nbytes for panel in panels}  # shared arrays count once
    later = (values.serving() if deferred is None else deferred) and sum(exact.values()) > inline_limit
    header = {
        "figure": _figure(spec, weights),
        "frame": {
            "alt": _text(alt),
            "filename": _text(filename),
            "heading": _text(heading),
            "lines": [_text(line) for line in lines],
            "selected": selected,
            "paint": None if paint is None else _painted(paint, body),
            "panels": [_placed(panel, body, later) for panel in panels],
        },
    }
    return _packed(header, body, revision)


def _layer(spec: Spec, name: str) -> list[Mapping[str, Any]]:
    return [trace for trace in spec["data"] if _layer_of(trace) == name]


def _layer_of(trace: Mapping[str, Any]) -> str | None:
    meta = trace.get("meta")
    return meta.get("layer") if trace.get("type") == "heatmap" and isinstance(meta, Mapping) else None


def _axes(trace: Mapping[str, Any]) -> tuple[str, str]:
    return trace.get("xaxis") or "x", trace.get("yaxis") or "y"


def _codes(source: Any, body: Body) -> Codes:
    codes: Codes = body.array(source, "u1")
    return codes


def _panel(trace: Mapping[str, Any], codes: Codes | None, body: Body) -> dict[str, Any]:
    z: Floats = body.array(trace["z"], "<f4")
    exact = None if trace.get("customdata") is None else body.array(trace["customdata"], "<f4")
    if exact is not None and exact.shape != z.shape:
        exact = None
    low, high = _range(trace, z)
    if codes is None and np.isnan(z).any():
        codes = np.where(np.isnan(z), np.uint8(NAN_CODE), np.uint8(0))
    return {
        "low": low,
        "high": high,
        "scaled": exact is not None,
        "indices": colour_indices(z, low, high),
        "codes": codes,
        "values": z if exact is None else exact,
    }


def _range(trace: Mapping[str, Any], z: Floats) -> tuple[float, float]:
    low, high = trace.get("zmin"), trace.get("zmax")
    finite = z[np.isfinite(z)] if low is None or high is None else z
    low = float(finite.min(initial=0.0)) if low is None else float(low)
    return low, float(finite.max(initial=low)) if high is None else float(high)


def colour_indices(z: Floats, low: float, high: float) -> Codes:
    """Return 0 to 255 for where each value of z [L, S] lies between low and high; NaN becomes 0."""
    if not high > low:
        return np.zeros(z.shape, dtype=np.uint8)
    scaled = np.subtract(z, np.float32(low))
    scaled *= np.float32(255 / (high - low))
    scaled += np.float32(0.5)
    np.fmax(scaled, 0, out=scaled)  # fmax and not maximum: it turns NaN into 0
    np.fmin(scaled, 255, out=scaled)
    return scaled.astype(np.uint8)


def _placed(panel: dict[str, Any], body: Body, later: bool) -> dict[str, Any]:
    codes = panel["codes"]
    return {
        "zmin": panel["low"],
        "zmax": panel["high"],
        "scaled": panel["scaled"],
        "cells": body.place(panel["indices"]),
        "state": None if codes is None or not codes.any() else body.place(codes),
        "values": values.store.put(panel["values"]) if later else body.place(panel["values"]),
    }


def _painted(paint: Paint, body: Body) -> dict[str, Any]:
    allowed = None if paint.allowed is None else body.place(_codes(paint.allowed, body))
    return {"panels": list(paint.panels), "answered": paint.answered, "allowed": allowed}


def _figure(spec: Spec, weights: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    layout = dict(spec.get("layout") or {})
    meta = layout.pop("meta", None)
    meta = meta if isinstance(meta, Mapping) else {}
    titles = {(p.get("xaxis", "x"), p.get("yaxis", "y")): _text(p.get("title", "")) for p in meta.get("panels", ())}
    others = [trace for trace in spec["data"] if _layer_of(trace) not in ("weights", "state")]
    panels = [_panel_figure(trace, titles) for trace in weights]
    own = {axis for panel in panels for axis in (panel["xaxis"], panel["yaxis"])}
    # With further axes in the figure its own arrangement is kept; else the browser arranges the panels by its width.
    arranged = all(axis in own for trace in others for axis in _axes(trace)) and bool(panels)
    if arranged:
        layout = {name: value for name, value in layout.items() if not name.startswith(("xaxis", "yaxis"))}
        shown = {text for title in titles.values() for text in (title, html.escape(title), html.escape(title, False))}
        layout["annotations"] = [a for a in layout.get("annotations") or () if a.get("text") not in shown]
    return {
        "plotly": assets.PLOTLY_FILE,
        "panels": panels,
        "others": others,
        "layout": layout,
        "arranged": arranged,
        "queries": [_text(token) for token in meta.get("query_tokens") or ()],
        "keys": [_text(token) for token in meta.get("key_tokens") or ()],
        "columns": meta.get("columns") or len(panels),
        "queryTitle": _text(meta.get("query_title", "query")),
        "keyTitle": _text(meta.get("key_title", "key")),
        "valueTitle": _text(meta.get("value_title", "weight")),
    }


def _panel_figure(trace: Mapping[str, Any], titles: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    x, y = _axes(trace)
    rows, columns = unpacked(trace["z"]).shape
    return {
        "title": titles.get((x, y), _text(trace.get("name") or "")),
        "xaxis": x,
        "yaxis": y,
        "rows": rows,
        "columns": columns,
        "colorscale": _colorscale(trace.get("colorscale")),
        "bar": dict(trace.get("colorbar") or {}) if trace.get("showscale", True) else None,
    }


def _colorscale(scale: Any) -> Any:
    """Return a colour scale as pairs of place and colour; Plotly also takes a name."""
    return scale if isinstance(scale, (list, tuple)) else plotly.colors.get_colorscale(scale or "Viridis")


def _text(text: object) -> str:
    """Return text that can be sent: a lone surrogate, which UTF-8 does not have, becomes a question mark."""
    return str(text).encode("utf-8", "replace").decode()


def _packed(header: dict[str, Any], body: Body, revision: str | None) -> bytes:
    try:
        packed = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY, default=_listed)
    except orjson.JSONEncodeError as error:
        raise TypeError(f"a figure for the component must hold plain values and arrays, but: {error}.") from None
    if revision is None:
        digest = hashlib.sha256(packed)
        for part in body.parts:
            digest.update(part)
        revision = digest.hexdigest()[:16]
    head = b'{"revision":' + orjson.dumps(revision) + b"," + packed[1:]
    head += b" " * (-(len(head) + 4) % 8)
    return b"".join([len(head).to_bytes(4, "little"), head, *body.parts])


def _listed(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):  # strided or of a type that orjson does not take
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError  # orjson says which type it was
