"""The app that test_plot_component.py drives: one component, and query parameters that say what it shows."""

from __future__ import annotations

import json
import time
from functools import lru_cache

import numpy as np
import streamlit as st

from mha_viz.errors import CapacityError
from mha_viz.figures import pooling
from mha_viz.figures.grammar import WEIGHT_COLOURS
from mha_viz.ui import finer as finer_cells
from mha_viz.ui import plot, server, values
from mha_viz.ui.finer import Cells, Finer

HOSTILE = [
    '<a href="https://evil.example">x</a>',
    "<img src=x onerror=alert(1)>",
    "$\\frac{1}{2}$",
    "%{z}",
    "&lt;b&gt;",
]
SCALE = [[0.0, "rgb(0,0,100)"], [0.5, "rgb(0,100,0)"], [1.0, "rgb(255,255,0)"]]


def axis(letter: str, panel: int) -> str:
    return letter if panel == 0 else f"{letter}{panel + 1}"


def states(size: int) -> np.ndarray:
    """Row r holds code r in every second cell; in large panels the rows are further apart."""
    codes = np.zeros((size, size), dtype=np.uint8)
    for code in range(1, 6):
        codes[code * max(1, size // 12), ::2] = code
    return codes


@lru_cache(maxsize=64)  # shared by the script's runs: what is measured is the component, not this demo
def spec(panels: int, size: int, step: int, kind: str) -> dict:
    rng = np.random.default_rng(step)
    weights = rng.random((panels, size, size), dtype=np.float32) / (2 + step)
    weights[:, 0, 0] = 0.123456789
    weights[:, 0, 1] = 0
    codes = None
    if kind in ("states", "hostile"):
        codes = states(size)
        weights[:, codes == 4] = np.nan
        weights[:, (codes > 0) & (codes < 4)] = 0
    top = float(np.nanmax(weights))
    if kind == "signed":  # nearly 0 everywhere, but for one far below and one far above it
        weights *= 0.01
        weights[:, 100, 100], weights[:, 300, 300] = -top, top
    low = -top if kind == "signed" else 0.0
    data = []
    for p in range(panels):
        axes = {"xaxis": axis("x", p), "yaxis": axis("y", p)}
        data.append(
            {"type": "heatmap", "z": weights[p], "zmin": low, "zmax": top, "colorscale": SCALE, "name": f"head {p}"}
            | {"showscale": p == 0, "colorbar": {"title": {"text": "weight"}}}
            | {"meta": {"layer": "weights", "panel": p}}
            | axes
        )
        if codes is not None:
            data.append(
                {"type": "heatmap", "z": codes, "meta": {"layer": "state", "panel": p}, "showscale": False} | axes
            )
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps"]
    tokens = HOSTILE if kind == "hostile" else [str(i) for i in range(size)] if size > 20 else words
    tokens = [tokens[i % len(tokens)] for i in range(size)]
    titles = [f"head {p}" if kind != "hostile" else "<img src=y onerror=alert(2)>" for p in range(panels)]
    meta = {
        "panels": [{"title": t, "xaxis": axis("x", p), "yaxis": axis("y", p)} for p, t in enumerate(titles)],
        "query_tokens": tokens,
        "key_tokens": tokens,
        "columns": min(4, panels),
        "query_title": "query",
        "key_title": "key",
    }
    layout = {"meta": meta, "annotations": [{"text": titles[0], "x": 0, "y": 1}]}
    return {"data": data, "layout": layout}


def page() -> None:
    """Draw what the address asks for."""
    asked = st.query_params
    kind = asked.get("kind", "")
    panels, size = int(asked.get("panels", "8")), int(asked.get("size", "12"))
    step = st.slider("step", 0, 1000, 0, key="step")
    found = plot.clicked("plot")
    if found is not None:
        st.session_state["chosen"] = list(found)
    chosen = st.session_state.get("chosen")
    if kind == "empty":
        empty_component()(data=step.to_bytes(4, "little"), key="plot")
    elif kind == "bars":
        bars = {"data": [{"type": "bar", "y": np.arange(5.0)}], "layout": {"title": {"text": f"bars {step}"}}}
        plot.heatmaps(bars, key="plot", alt="bars")
    elif kind == "paint":
        painting(panels, size, step)
    elif kind == "finer":
        long_figure(panels, step, asked.get("goto", ""), "names" in asked, int(asked.get("pending", "-1")))
    elif kind == "grammar":
        plot.heatmaps(grammar(size // 7), key="plot", alt="one cell for each state")
    else:
        figure = spec(panels, size, step, kind)
        selected = tuple(chosen) if chosen else None
        if not (kind == "vanishing" and step):
            plot.heatmaps(figure, key="plot", alt="weights of all heads", selected=selected, filename="demo")
        if kind == "forgetful" and "forgot" not in st.session_state:
            values.store.clear()  # as if others had needed the room
            st.session_state["forgot"] = True
    st.code(f"chosen {chosen}", language=None)


def painting(panels: int, size: int, step: int) -> None:
    """Draw weights under a mask that can be painted on, and write down what the browser sent."""
    kept = st.session_state
    allowed = kept.setdefault("allowed", np.tri(size, dtype=bool).tolist())
    log = kept.setdefault("log", [])

    def paint() -> None:
        found = plot.painted("plot")
        if isinstance(found, plot.Stroke):
            log.append([found.panel, [list(run) for run in found.runs], found.value])
            for query, first, last in found.runs:
                allowed[query][first : last + 1] = [found.value] * (last + 1 - first)
        else:
            log.append(found)
        time.sleep(int(st.query_params.get("slow", "0")) / 1000)  # a server that has much to do

    figure = spec(panels, size, step, "")
    mask = np.array(allowed)
    codes = np.where(mask, 0, 1).astype(np.uint8)
    traces = []
    for trace in figure["data"]:
        axes = {name: trace[name] for name in ("xaxis", "yaxis")}
        weights = np.where(mask, trace["z"], 0).astype(np.float32)
        traces += [trace | {"z": weights}, trace | {"z": codes, "meta": {"layer": "state"}} | axes]
    plot.heatmaps(
        figure | {"data": traces}, key="plot", alt="a mask to paint on", on_paint=paint, paintable=[0], allowed=mask
    )
    st.text(f"log {json.dumps(log)}")


LONG = 4096
BLOCK = 8


@lru_cache(maxsize=4)
def long_weights(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights [LONG, LONG] and their states: a causal mask, a few NaN rows, violations above the diagonal."""
    weights = np.random.default_rng(step).random((LONG, LONG), dtype=np.float32) / 4
    weights[1000, 500] = 0.987654
    weights[np.triu_indices(LONG, 1)] = 0
    codes = np.triu(np.ones((LONG, LONG), dtype=np.uint8), 1)
    weights[2000:2003], codes[2000:2003] = np.nan, 4
    weights[1010, 1020], codes[1010, 1020] = 0.5, 5
    return weights, codes


@lru_cache(maxsize=4)
def long_blocks(step: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what of them the figure shows."""
    weights, codes = long_weights(step)
    return pooling.largest(weights, BLOCK), pooling.worst(codes, BLOCK)


def pooled(array: np.ndarray, side: int, pool) -> np.ndarray:
    return array if side == 1 else pool(array, side)


def long_figure(panels: int, step: int, goto: str, named: bool, pending: int) -> None:
    """Draw heads of 4,096 tokens, each the same but half as strong as the one before, that can be zoomed into."""
    weights, codes = long_weights(step)
    places = range(panels)

    def read(rows: slice, columns: slice, side: int) -> list[Cells]:
        if "fail" in asked:
            raise CapacityError("There is no memory left for finer cells.")
        shown = pooled(weights[rows, columns], side, pooling.largest)
        states = pooled(codes[rows, columns], side, pooling.worst)
        return [Cells(found := shown / 2**p, found, states) for p in places]

    asked = set(st.query_params)
    coarse, states = long_blocks(step)
    names = [f"w{i}" for i in range(LONG)] if named else ()
    finer = Finer(LONG, LONG, BLOCK, read, f"{step} {panels}", query_tokens=names, key_tokens=names)
    data = []
    for p in places:
        axes = {"xaxis": axis("x", p), "yaxis": axis("y", p)}
        about = {"type": "heatmap", "zmin": 0.0, "zmax": 1.0, "colorscale": SCALE, "showscale": p == 0}
        about["colorbar"] = {"title": {"text": "weight"}}
        data.append(about | {"z": coarse / 2**p, "meta": {"layer": "weights"}} | axes)
        data.append({"type": "heatmap", "z": states, "meta": {"layer": "state"}} | axes)
    titles = [{"title": f"head {p}", "xaxis": axis("x", p), "yaxis": axis("y", p)} for p in places]
    meta = {"panels": [about | {"pending": p == pending} for p, about in enumerate(titles)], "columns": 4}
    meta |= {"query_title": "query", "key_title": "key"}
    to = (*map(int, goto.split("-")), 1) if goto else None
    chosen = st.session_state.get("chosen")
    plot.heatmaps(
        {"data": data, "layout": {"meta": meta}},
        key="plot",
        alt="long sequences",
        finer=finer,
        goto=to,
        selected=tuple(chosen) if chosen else None,
        lines=["A line of text."],
    )
    if "forget" in asked and "forgot" not in st.session_state:
        finer_cells.sources.clear()  # as if others had needed the room
        st.session_state["forgot"] = True


GRAMMAR = ("positive", "zero", "masked", "padded", "both", "nan", "violation")


def grammar(repeat: int) -> dict:
    """Return a figure of 7 x 7 cells, repeated: column k is as GRAMMAR[k] says, but row 5 is NaN in every cell."""
    weights = np.zeros((7, 7), dtype=np.float32)
    weights[:, [0, 6]] = np.linspace(0.1, 1, 7, dtype=np.float32)[:, None]
    codes = np.tile(np.array([0, 0, 1, 2, 3, 4, 5], dtype=np.uint8), (7, 1))
    codes[5] = 4
    weights[codes == 4] = np.nan
    weights, codes = (np.tile(cells, (repeat, repeat)) for cells in (weights, codes))
    scale = [[place, colour] for place, colour in WEIGHT_COLOURS]
    axes = {"xaxis": "x", "yaxis": "y"}
    data = [
        {"type": "heatmap", "z": weights, "zmin": 0.0, "zmax": 1.0, "colorscale": scale, "meta": {"layer": "weights"}},
        {"type": "heatmap", "z": codes, "meta": {"layer": "state"}},
    ]
    meta = {"panels": [{"title": "states", **axes}], "key_tokens": list(GRAMMAR) * repeat}
    return {"data": [trace | axes for trace in data], "layout": {"meta": meta}}


EMPTY_JS = """
export default function (component) {
  const bytes = component.data;
  const step = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  component.parentElement.querySelector(".mha-plot").dataset.painted = String(step);
}
"""


@st.cache_resource  # registered once, as a package does at its import
def empty_component():
    """Return a component that paints nothing: what any change costs at least."""
    return st.components.v2.component("empty", html='<div class="mha-plot"></div>', js=EMPTY_JS, isolate_styles=False)


if __name__ == "__main__":
    st.set_page_config(layout="wide")
    page()
elif __name__ == "plot_demo":  # as the server imports it; the tests import it too, for `spec`
    app = st.App(__file__, lifespan=server.lifespan, routes=server.routes(), middleware=server.middleware())
