"""A figure as the bytes that the plot component draws.

    u32 little-endian   length of the header
    header              JSON, padded with spaces so that what follows starts at a multiple of 8
    buffers             each at a multiple of 8: colour indices (u8), states (u8), exact values (little-endian f4)

The header has `figure`, which decides what Plotly draws (axes, labels, colour bars), and `frame`, which changes with
the data: as long as `figure` stays the same, the browser repaints cells and touches no Plotly code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mha_viz.ui import values
from mha_viz.ui.buffers import Body
from mha_viz.ui.skeleton import Spec, layer, skeleton, subplot, text

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
    marked: Mapping[str, int] | None = None,
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
        marked: what to outline in every panel, by the names of its axes, as `{"query": 3, "key": 5}`.
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
    weights = layer(spec, "weights")
    states = {subplot(trace): _codes(trace["z"], body) for trace in layer(spec, "state")}
    panels = [_panel(trace, states.get(subplot(trace)), body) for trace in weights]
    exact = {id(panel["values"]): panel["values"].nbytes for panel in panels}  # shared arrays count once
    later = (values.serving() if deferred is None else deferred) and sum(exact.values()) > inline_limit
    header = {
        "figure": skeleton(spec, weights),
        "frame": {
            "alt": text(alt),
            "filename": text(filename),
            "heading": text(heading),
            "lines": [text(line) for line in lines],
            "selected": selected,
            "marked": marked,
            "paint": None if paint is None else _painted(paint, body),
            "panels": [_placed(panel, body, later) for panel in panels],
        },
    }
    return _packed(header, body, revision)


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
