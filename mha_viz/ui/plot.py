"""The project's own plot: attention heatmaps as a Streamlit component, with `st.plotly_chart` where it cannot run.

Plotly.js owns axes, zoom, labels and colour bars. The cells are painted from raw bytes on a canvas under it, so that
new data of the same shape costs a repaint and no Plotly work, keeps the zoom, and shows exact values under the pointer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from mha_viz.figures.long_heads import CELLS
from mha_viz.ui import assets, messages, strokes, values
from mha_viz.ui.assets import frontend_route, plotly_js_route
from mha_viz.ui.finer import Finer
from mha_viz.ui.skeleton import COLUMNS, ROWS, Spec
from mha_viz.ui.strokes import Command, Stroke
from mha_viz.ui.wire import Paint, encode

__all__ = [
    "Finer",
    "Stroke",
    "clicked",
    "clicked_side",
    "encode",
    "frontend_route",
    "heatmaps",
    "most_cells",
    "painted",
    "plotly_js_route",
    "refined",
]

PLOT_VARIABLE = "MHA_VIZ_PLOT"
"""Environment variable: `plotly_chart` draws with `st.plotly_chart` even where the component could run."""

_HTML = """
<div class="mha-heading"></div>
<div class="mha-tools" role="group" aria-label="Painting tools" hidden>
  <button type="button" value="" aria-pressed="true" title="Drag to zoom, click to choose a cell">Look</button>
  <button type="button" value="brush" aria-pressed="false" title="Click or drag over cells">Brush</button>
  <button type="button" value="rectangle" aria-pressed="false" title="Drag from corner to corner">Rectangle</button>
  <button type="button" value="row" aria-pressed="false" title="Click a row, or drag over several">Row</button>
  <button type="button" value="column" aria-pressed="false" title="Click a column, or drag over several">Column</button>
</div>
<div class="mha-plot" tabindex="0">
  <canvas class="mha-cells" aria-hidden="true"></canvas>
  <div class="mha-axes"></div>
  <canvas class="mha-marks" aria-hidden="true"></canvas>
  <canvas class="mha-map" aria-hidden="true" hidden></canvas>
  <div class="mha-tip" hidden></div>
  <div class="mha-note" hidden></div>
  <div class="mha-status" role="status" aria-live="polite"></div>
</div>
<div class="mha-lines"></div>
"""

_component = st.components.v2.component(
    "mha_viz_plot",
    html=_HTML,
    css=assets.read("plot.css"),
    # Only the loader travels with each message; the modules are fetched once and cached for ever.
    js=assets.read("loader.js").replace("FRONTEND_FOLDER", assets.frontend_folder()),
    isolate_styles=False,  # Plotly puts its own style sheet into the document
)


def heatmaps(
    spec: Spec,
    *,
    key: str,
    alt: str,
    selected: tuple[int, int, int] | None = None,
    marked: Mapping[str, int] | None = None,
    on_cell: Callable[[], None] | None = None,
    on_paint: Callable[[], None] | None = None,
    paintable: Sequence[int] = (0,),
    allowed: NDArray[np.bool_] | None = None,
    filename: str = "attention",
    heading: str = "",
    lines: Sequence[str] = (),
    finer: Finer | None = None,
    goto: tuple[int, int, int] | None = None,
) -> None:
    """Draw a figure of attention heatmaps, or any other Plotly figure, in the width that there is.

    Args:
        spec: a Plotly figure as a dict with `data` and `layout`. Heatmaps marked `meta={"layer": "weights"}` are
            painted by the component with the states of `meta={"layer": "state"}` over them. A panel whose entry in
            the layout's `meta["panels"]` has a true `pending` is not computed yet and stays empty; its numbers should
            be NaN, for where the component cannot run.
        key: the element's key; with the same key, zoom and keyboard cursor stay while the data changes.
        alt: what a screen reader says the figure is.
        selected: (panel, query, key) of a cell to outline.
        marked: what to outline in every panel, by the names of its axes, as `{"query": 3, "key": 5}`.
        on_cell: called before the rerun that follows a click, tap or Enter on a cell; `clicked(key)` says which.
        on_paint: called before the rerun that follows a stroke of a painting tool, or Control+Z and the like;
            `painted(key)` says which. Without it there are no tools. Only the component can be painted on.
        paintable: numbers of the panels that can be painted on.
        allowed: bool [L, S], which cells of these panels are allowed in what is being painted: a stroke that starts
            on an allowed cell masks. By default, the cells that the figure's states do not mark.
        filename: name of downloaded images, without an ending.
        heading: a line of text above the figure. In the component it is painted with the cells, where an element of
            its own would cost the browser as much as the figure does.
        lines: lines of text below the figure.
        finer: where the browser gets finer cells from when somebody zooms in; all panels are then pooled over its
            blocks, and `selected`, `marked`, `goto` and `clicked(key)` count in cells of the whole.
        goto: (query, key, count) of a cell to outline and to zoom to; with a new count it is zoomed to again.
    """
    finer = None if finer is not None and finer.side == 1 else finer  # every cell is there already
    if _component_runs():
        paint = None if on_paint is None else Paint(paintable, allowed, strokes.serial(_event(key, "paint")))
        shown: dict[str, Any] = {"alt": alt, "selected": selected, "filename": filename, "heading": heading}
        if paint is None and marked is None and goto is None:
            data = messages.of(spec, **shown, lines=tuple(lines), finer=finer)
        else:
            data = encode(spec, **shown, lines=lines, marked=marked, paint=paint, finer=finer, goto=goto)
        _component(
            key=key,
            data=data,
            on_cell_change=on_cell or _nothing,
            on_paint_change=on_paint or _nothing,
            on_stale_change=messages.forget,
        )
    else:
        if heading:
            st.text(heading)
        if finer is not None:
            lines = [_blocks(spec, finer.side), *lines]
            selected = selected and (selected[0], selected[1] // finer.side, selected[2] // finer.side)
            marked = marked and {name: at // finer.side for name, at in marked.items()}
        st.plotly_chart(chart_figure(spec, selected, marked), key=key, alt=alt, config=_chart_config(filename))
        for line in lines:
            st.text(line)


def clicked(key: str) -> tuple[int, int, int] | None:
    """Return (panel, query, key) of the cell that was clicked just before this run, or None.

    The browser's word is checked for its form only: whoever uses the numbers compares them with the figure's sizes.
    """
    cell = _event(key, "cell")
    if not isinstance(cell, Mapping):
        return None
    indices = [cell.get(name) for name in ("panel", "query", "key")]
    panel, query, column = (i if isinstance(i, int) and not isinstance(i, bool) else -1 for i in indices)
    return (panel, query, column) if min(panel, query, column) >= 0 else None


def clicked_side(key: str) -> int:
    """Return how many cells the block that was clicked has along each side: 1 for a single cell, or without a click.

    The browser's word is checked for its form only.
    """
    cell = _event(key, "cell")
    side = cell.get("side") if isinstance(cell, Mapping) else None
    return side if isinstance(side, int) and not isinstance(side, bool) and side > 1 else 1


def painted(key: str) -> Stroke | Command | None:
    """Return the stroke that was painted just before this run, "undo" or "redo" if that was asked for, or None.

    The browser's word is checked for its form only: whoever uses the numbers compares them with the figure's sizes.
    """
    return strokes.read(_event(key, "paint"))


def _event(key: str, name: str) -> object:
    state = st.session_state.get(key)
    return state.get(name) if isinstance(state, Mapping) else None


def chart_figure(
    spec: Spec, selected: tuple[int, int, int] | None = None, marked: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return a figure as `st.plotly_chart` draws it fastest: a plain dict whose axes make no room for themselves.

    The cell (panel, query, key) of `selected`, and what is `marked` in every panel, are outlined by shapes.
    """
    layout = dict(spec.get("layout") or {})
    for name in layout:
        if name.startswith(("xaxis", "yaxis")):
            layout[name] = {**layout[name], "automargin": False}
    meta = layout.get("meta")
    panels = meta.get("panels", ()) if isinstance(meta, Mapping) else ()
    outlines = [_outline(panels[selected[0]], *selected[1:])] if selected and selected[0] < len(panels) else []
    outlines += [outline for panel in panels if marked for outline in _marks(panel, marked)]
    if outlines:
        layout["shapes"] = [*layout.get("shapes", ()), *outlines]
    return {"data": list(spec["data"]), "layout": layout}


def _marks(panel: Mapping[str, Any], marked: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the outline of what a panel has of the rows and columns that are marked."""
    row, column = (marked.get(panel.get(axis, name)) for axis, name in (("rows", ROWS), ("columns", COLUMNS)))
    return [] if row is None and column is None else [_outline(panel, row, column)]


def _outline(panel: Mapping[str, Any], row: int | None, column: int | None) -> dict[str, Any]:
    """Return a rectangle round a cell, or where one index is missing, round a whole row or column."""
    across = (0, 1) if column is None else (column - 0.5, column + 0.5)
    down = (0, 1) if row is None else (row - 0.5, row + 0.5)
    return {
        "type": "rect",
        "xref": panel["xaxis"] + " domain" * (column is None),
        "yref": panel["yaxis"] + " domain" * (row is None),
        "x0": across[0],
        "x1": across[1],
        "y0": down[0],
        "y1": down[1],
        "line": {"color": "rgb(255,255,255)", "width": 2},
    }


def _chart_config(filename: str) -> dict[str, Any]:
    return {"displaylogo": False, "scrollZoom": False, "toImageButtonOptions": {"filename": filename}}


def most_cells() -> int | None:
    """Return how many cells all panels of a figure are sent with at most, where the component asks for finer ones.

    None, for as many as a figure may have, where `st.plotly_chart` draws: it shows no others.
    """
    return CELLS if _component_runs() else None


def refined(side: int, what: str = "weights") -> list[str]:
    """Say below a picture of blocks how to come to what is in them; nothing where there is no way to.

    What the blocks show is said by the picture itself, since that changes where somebody zooms in.
    """
    how = "Drag a box, turn the wheel with Ctrl held, or spread two fingers"
    return [f"{how} for exact {what}."] if side > 1 and _component_runs() else []


def _blocks(spec: Spec, side: int) -> str:
    """Say what a cell is where `st.plotly_chart` draws, in the words of the component."""
    panels = spec["layout"]["meta"]["panels"]
    pooling = dict.fromkeys(about.get("pooling", "largest") for about in panels)
    what = dict.fromkeys(f"{about.get('value_title', 'weight')}s" for about in panels)
    return f"Each cell shows the {' or the '.join(pooling)} of {side} × {side} {' or '.join(what)}."


def _component_runs() -> bool:
    return values.serving() and os.environ.get(PLOT_VARIABLE) != "plotly_chart"


def _nothing() -> None:
    """Do nothing: Streamlit takes only the events that have a callback."""
