"""The parts of the Explore page below its controls; each draws one thing about a Run."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import streamlit as st

from mha_viz import export
from mha_viz.attention import cell, memory, peak, stats
from mha_viz.attention.records import Run
from mha_viz.errors import MhaVizError
from mha_viz.figures import grammar, heads, rows
from mha_viz.inputs.assemble import Sizes
from mha_viz.ui import controls, plot, state
from mha_viz.ui.view import HEATMAP, LINES, View

MAX_STATISTICS = 32


def messages() -> None:
    """Say what of the link could not be used, and why the last change could not be made."""
    for note in state.notes():
        st.info(note)
    if state.problem():
        st.error(state.problem())


def everything(run: Run) -> None:
    """Draw all that depends on the run; the figures are sent first, so that they are painted first."""
    view = state.view().within(*run.layers[0].weights.shape)
    top, grid, note, pair = st.container(), st.container(), st.container(), st.container()
    with grid:
        pictures(run, view)
    with pair:
        detail(run, view)
    with top:
        headline(run)
        controls.view_bar(run, view)
    with note:
        caption(run, view)
    made_of(run, view)
    statistics(run, view)
    downloads(run, view)


def headline(run: Run) -> None:
    """Say what ran: real shapes, device, number format, time and memory."""
    layer = run.layers[0]
    shapes = f"query {_shape(run.inputs.query)}"
    if run.inputs.key is not run.inputs.query:
        shapes += f", key {_shape(run.inputs.key)}"
    where = f"{run.device} {run.dtype}"
    took = f"{run.seconds * 1e3:.3g} ms"
    st.markdown(f"`{shapes}` → `weights {_shape(layer.weights)}` · {where} · {took} · peak {_peak(run)}")


def _shape(tensor: object) -> str:
    return str(list(tensor.shape))  # type: ignore[attr-defined]


def _peak(run: Run) -> str:
    if run.peak_bytes is not None:
        return memory.spelled(run.peak_bytes)
    assert run.scenario is not None
    n, _, length, keys = run.layers[0].weights.shape
    return memory.spelled(peak.peak_bytes(run.scenario, Sizes(n, length, keys - len(run.layers[0].extra_keys))))


def pictures(run: Run, view: View) -> None:
    """Draw what the view asks for: heatmaps, lines or shaded tokens."""
    if view.show == HEATMAP:
        _heatmaps(run, view)
    elif view.show == LINES:
        spec = rows.links(run, view.head, item=view.item, query=view.query)
        plot.heatmaps(spec, key="links", alt=f"Lines from query tokens to key tokens, head {view.head}")
    else:
        tokens(run, view)


def _heatmaps(run: Run, view: View) -> None:
    scale: grammar.Scale = view.scale  # type: ignore[assignment]
    chosen = None if view.query is None or view.key is None else (view.head, view.query, view.key)
    spec = heads.head_grid(run, item=view.item, scale=scale)
    alt = f"Attention weights of {run.layers[0].weights.shape[1]} heads as heatmaps"
    plot.heatmaps(spec, key="grid", alt=alt, selected=chosen, on_cell=_choose_in_grid, filename="heads")


def detail(run: Run, view: View) -> None:
    """Draw the average, the chosen head and its mask side by side."""
    scale: grammar.Scale = view.scale  # type: ignore[assignment]
    chosen = None if view.query is None or view.key is None else (1, view.query, view.key)
    spec = heads.detail(run, view.head, item=view.item, scale=scale)
    alt = f"The average over heads, head {view.head}, and its mask"
    plot.heatmaps(spec, key="detail", alt=alt, selected=chosen, on_cell=_choose_in_detail, filename="detail")


def _choose_in_grid() -> None:
    if (found := plot.clicked("grid")) is not None:
        head, query, key = found
        state.look(head=head, query=query, key=key)


def _choose_in_detail() -> None:
    if (found := plot.clicked("detail")) is not None:
        _, query, key = found
        state.look(query=query, key=key)


def caption(run: Run, view: View) -> None:
    """Write the line under the heatmaps: masked share, NaN rows, row sums, leaked mass."""
    layer = run.layers[0]
    s = stats.summarise(layer, view.item)
    parts = [f"{s.masked:.1%} masked", f"{s.nan_rows} of {s.rows} rows NaN"]
    if not math.isnan(s.row_sum_low):
        parts.append(f"row sums {s.row_sum_low:.3f} to {s.row_sum_high:.3f}")
    parts.append(f"leaked mass {s.leaked:.3g}")
    st.caption(" · ".join(parts))
    for sentence in explanations(run, s):
        st.caption(sentence)


def explanations(run: Run, s: stats.Summary) -> list[str]:
    """Return one sentence for each thing about these weights that surprises people."""
    layer, said = run.layers[0], []
    if layer.dropout:
        said.append(
            f"Train mode with dropout {layer.dropout:g}: a weight is set to 0 with that probability and the others are "
            f"divided by {1 - layer.dropout:g}, so rows do not sum to 1."
        )
    if s.nan_rows:
        said.append(
            "A row is NaN when every key is hidden from its query: the softmax then divides 0 by 0. NaN or inf in the "
            "inputs does it too."
        )
    if layer.extra_keys:
        names = " and ".join(layer.extra_keys)
        said.append(
            f"The last {len(layer.extra_keys)} of the columns ({names}) are appended by the layer; no mask hides them."
        )
    if layer.returned is not layer.weights:
        asked = "need_weights=False returned no weights" if layer.returned is None else "returned only their average"
        same = "are equal" if layer.output_change == 0 else f"differ by at most {layer.output_change:.2g}"
        said.append(f"Your call {asked}; these come from a second call. The outputs of the two {same}.")
    return said


def tokens(run: Run, view: View) -> None:
    """Write the key tokens, shaded by how much the chosen query attends to each."""
    labels = [f"{i}  {name}" for i, name in enumerate(run.query_tokens(view.item))]
    query = min(view.query or 0, len(labels) - 1)
    st.session_state["w:token"] = labels[query]

    def choose() -> None:
        state.look(query=labels.index(st.session_state["w:token"]), key=state.view().key or 0)

    about = "The token whose weights shade the text."
    st.selectbox("query token", labels, key="w:token", on_change=choose, help=about)
    st.html(shaded(run.key_tokens(view.item), run.layers[0].weights[view.item, view.head, query].float().tolist()))


def shaded(names: tuple[str, ...], weights: list[float]) -> str:
    """Return HTML of tokens with backgrounds from pale to dark; token text is escaped."""
    top = max((w for w in weights if not math.isnan(w)), default=0.0) or 1.0
    spans = []
    for name, weight in zip(names, weights, strict=True):
        if math.isnan(weight):
            style = f"border:1px dashed {grammar.NAN_COLOUR}"
        else:
            style = f"background:rgba(33,144,141,{0.9 * weight / top:.3f})"
        title = html.escape(f"{name}: {weight:.4g}", quote=True)
        spans.append(f'<span title="{title}" style="{style}">{html.escape(name)}</span>')
    return f'<div class="mha-tokens">{" ".join(spans)}</div>'


def made_of(run: Run, view: View) -> None:
    """Open the chosen cell: the row as bars, and the arithmetic from q·k to the weight."""
    if view.query is None or view.key is None:
        st.caption("Click a cell to see what its weight is made of.")
        return
    names, keys = run.query_tokens(view.item), run.key_tokens(view.item)
    row = cell.row(run, item=view.item, head=view.head, query=view.query)
    k = view.key
    st.html(
        f"<b>Head {view.head}: how much query {view.query} “{html.escape(names[view.query])}” attends to "
        f"key {k} “{html.escape(keys[k])}”</b>"
    )
    left, right = st.columns([2, 3])
    left.html(_table(("step", "value"), arithmetic(row, view.key), "mha-steps"))
    with right:
        spec = rows.row(run, view.head, view.query, item=view.item, key=view.key)
        plot.heatmaps(spec, key="row", alt=f"Weights of query {view.query} over the keys, head {view.head}")


def arithmetic(row: cell.Row, key: int) -> list[tuple[str, str]]:
    """Return the steps from q·k to the weight of one key, each with its number."""
    added, weight, returned = float(row.added[key]), float(row.weights[key]), float(row.returned[key])
    hidden = " (masked)" if added == -math.inf else ""
    steps = [
        ("q · k", _number(float(row.dots[key]))),
        ("× scale, 1 / √D", _number(row.scale)),
        ("+ mask and bias", _number(added) + hidden),
        ("= score", _number(float(row.scores[key]))),
        ("exp(score - largest score of the row)", _number(float(row.exponentials[key]))),
        ("÷ softmax denominator, their sum over all keys", _number(row.denominator)),
        ("= weight", _number(weight)),
    ]
    if row.dropped:
        steps.append(("after dropout", _number(returned)))
    return steps


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.4g}".replace("inf", "∞").replace("-", "−")


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]], name: str) -> str:
    """Return an HTML table of texts, all escaped."""
    top = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>" for line in lines)
    return f'<table class="mha-table {name}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'


def statistics(run: Run, view: View) -> None:
    """Write a small table of each head's entropy, mean distance and largest weight."""
    names, keys = run.query_tokens(view.item), run.key_tokens(view.item)
    lines = [
        (str(s.head), f"{s.entropy:.3g}", f"{s.distance:.3g}", f"{s.largest:.3g}", f"{names[s.query]} → {keys[s.key]}")
        for s in stats.head_stats(run.layers[0], view.item)[:MAX_STATISTICS]
    ]
    heads_of = ("head", "entropy (bits)", "mean distance (tokens)", "largest weight", "from → to")
    st.html(_table(heads_of, lines, "mha-statistics"))


def downloads(run: Run, view: View) -> None:
    """Offer the weights, the figure, the script and the link; nothing is made before it is asked for."""
    box = st.expander("Download and share", key="group:share", on_change="rerun")
    if not box.open:
        return
    assert run.scenario is not None
    scenario = run.scenario
    with box:
        with st.container(horizontal=True):
            _download("weights .npz", lambda: export.npz(run), "attention.npz", "application/octet-stream")
            _download("weights .csv", lambda: export.csv_text(run, item=view.item), "attention.csv", "text/csv")
            _download("script .py", lambda: export.script(scenario), "attention.py", "text/x-python")
            _download("figure .html", lambda: _page(run, view), "attention.html", "text/html")
        st.caption(
            "PNG and SVG: the camera buttons above each figure. Link: the address of this page reopens exactly this."
        )
        st.code("?" + state.link(), language=None, wrap_lines=True)
        try:
            st.code(export.script(scenario), language="python")
        except MhaVizError as error:
            st.caption(str(error))


def _page(run: Run, view: View) -> str:
    from mha_viz import figures

    scale: grammar.Scale = view.scale  # type: ignore[assignment]
    return str(figures.head_grid(run, item=view.item, scale=scale).to_html(include_plotlyjs=True))


def _download(label: str, make: object, name: str, kind: str) -> None:
    st.download_button(label, make, file_name=name, mime=kind, on_click="ignore")  # type: ignore[arg-type]
