"""Files, code and the link of what is on the screen; nothing is made before it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mha_viz import export, figures
from mha_viz.attention.runs import Run
from mha_viz.errors import MhaVizError
from mha_viz.export import run_file
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, say, state
from mha_viz.ui.origin import Origin
from mha_viz.ui.view import View

BINARY = "application/octet-stream"


def downloads(source: Origin, run: Run, view: View) -> None:
    """Offer the weights, the run, the figure, the script and the link."""
    box = st.expander("Download and share", key="group:share", on_change="rerun")
    if not box.open:
        return
    at = {"layer": view.layer, "item": view.item}

    def again() -> Run:
        return cached.run(source)  # a button that held the run would keep it alive

    with box:
        with st.container(horizontal=True):
            _download("weights .npz", lambda: export.npz(again(), layer=view.layer), "attention.npz", BINARY)
            _download("weights .csv", lambda: export.csv_text(again(), **at), "attention.csv", "text/csv")
            _download("run .safetensors", lambda: run_file.to_bytes(again()), "run.safetensors", BINARY)
            if isinstance(source, Scenario):
                _download("script .py", lambda: export.script(source), "attention.py", "text/x-python")
            _download("figure .html", lambda: _web_page(again(), view), "attention.html", "text/html")
        st.caption("PNG and SVG: the buttons above each figure. This page's address reopens exactly this:")
        st.code("?" + state.link(), language=None, wrap_lines=True)
        if isinstance(source, Scenario):
            _script(source)


def _script(scenario: Scenario) -> None:
    try:
        st.code(export.script(scenario), language="python")
    except MhaVizError as error:
        say.caption(error)


def _web_page(run: Run, view: View) -> str:
    figure = figures.head_grid(run, layer=view.layer, item=view.item, scale=view.colours)
    return str(figure.to_html(include_plotlyjs=True))


def _download(label: str, make: Callable[[], str | bytes], name: str, kind: str) -> None:
    st.download_button(label, make, file_name=name, mime=kind, on_click="ignore")
