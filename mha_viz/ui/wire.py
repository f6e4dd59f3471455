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
from numpy.typing import NDArray

from mha_viz.ui import finer as finer_cells
from mha_viz.ui import values
from mha_viz.ui.buffers import Body, as_json, packed
from mha_viz.ui.finer import Finer
from mha_viz.ui.raster import INLINE_LIMIT, Codes, Floats, Raster, placed, raster, wait
from mha_viz.ui.skeleton import Spec, about_panels, layer, skeleton, subplot, text


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
    finer: Finer | None = None,
    goto: tuple[int, int, int] | None = None,
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
        finer: where the browser gets finer cells from; all panels are then blocks of its cells.
        goto: (query, key, count) of a cell to zoom to; with a new count again.
        inline_limit: bytes of exact values up to which they are sent along.
        deferred: whether more than that may wait on the server; by default, if the server has the route.
        revision: what `data-painted` shows once this is on the screen, different for different figures; by default a
            digest of everything sent.

    Raises:
        TypeError: a trace or the layout holds something that JSON and NumPy do not have.
        ValueError: a panel is not as many blocks as `finer` says.
    """
    body = Body()
    weights = layer(spec, "weights")
    states = {subplot(trace): _codes(trace["z"], body) for trace in layer(spec, "state")}
    panels = [_panel(trace, states.get(subplot(trace)), spec, body) for trace in weights]
    rasters = [panel.raster for panel in panels]
    later = (values.serving() if deferred is None else deferred) and wait(rasters, inline_limit)
    header = {
        "figure": skeleton(spec, weights, finer),
        "frame": {
            "alt": text(alt),
            "filename": text(filename),
            "heading": text(heading),
            "lines": [text(line) for line in lines],
            "selected": selected,
            "marked": marked,
            "goto": goto,
            "finer": None if finer is None else _token(finer, panels),
            "paint": None if paint is None else _painted(paint, body),
            "panels": [_sent(panel, body, later) for panel in panels],
        },
    }
    return _with_revision(header, body, revision)


@dataclass(frozen=True, eq=False)
class _Panel:
    low: float
    high: float
    raster: Raster | None  # None while it is pending


def _codes(source: Any, body: Body) -> Codes:
    codes: Codes = body.array(source, "u1")
    return codes


def _panel(trace: Mapping[str, Any], codes: Codes | None, spec: Spec, body: Body) -> _Panel:
    z: Floats = body.array(trace["z"], "<f4")
    exact = None if trace.get("customdata") is None else body.array(trace["customdata"], "<f4")
    if exact is not None and exact.shape != z.shape:
        exact = None
    low, high = _range(trace, z)
    pending = about_panels(spec).get(subplot(trace), {}).get("pending")
    return _Panel(low, high, None if pending else raster(z, exact, codes, low, high))


def _token(finer: Finer, panels: Sequence[_Panel]) -> str:
    shapes = {panel.raster.indices.shape for panel in panels if panel.raster is not None} - {finer.shape}
    if shapes:
        raise ValueError(f"panels with finer cells must have {finer.shape} blocks, not {shapes.pop()}.")
    return finer_cells.sources.put(finer, [(panel.low, panel.high) for panel in panels])


def _sent(panel: _Panel, body: Body, later: bool) -> dict[str, Any]:
    """Return where a panel's buffers are; one that is pending has none."""
    found = {"zmin": panel.low, "zmax": panel.high, "pending": panel.raster is None}
    return found if panel.raster is None else found | placed(panel.raster, body, later)


def _range(trace: Mapping[str, Any], z: Floats) -> tuple[float, float]:
    low, high = trace.get("zmin"), trace.get("zmax")
    finite = z[np.isfinite(z)] if low is None or high is None else z
    low = float(finite.min(initial=0.0)) if low is None else float(low)
    return low, float(finite.max(initial=low)) if high is None else float(high)


def _painted(paint: Paint, body: Body) -> dict[str, Any]:
    allowed = None if paint.allowed is None else body.place(_codes(paint.allowed, body))
    return {"panels": list(paint.panels), "answered": paint.answered, "allowed": allowed}


def _with_revision(header: dict[str, Any], body: Body, revision: str | None) -> bytes:
    head = as_json(header)
    if revision is None:
        digest = hashlib.sha256(head)
        for part in body.parts:
            digest.update(part)
        revision = digest.hexdigest()[:16]
    return packed(b'{"revision":' + as_json(revision) + b"," + head[1:], body)
