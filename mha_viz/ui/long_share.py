"""Files, code and the link of a long sequence; nothing is made before it is asked for."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from mha_viz.attention.runs import Run
from mha_viz.figures import long_heads
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, state
from mha_viz.ui.long_results import PICTURES, Layer
from mha_viz.ui.origin import Origin
from mha_viz.ui.share_panels import BINARY
from mha_viz.ui.view import View

WINDOW = 256  # queries and keys in the file of exact weights

CODE = """\
import mha_viz as mv

s = mv.Scenario.from_query({query!r})
layer = mv.run(s).layers[{layer}]  # over the memory limit, weights are computed where you look
layer.overview(head={head}, size={size}, item={item})  # each the largest of a block
layer.window(head={head}, rows=slice({top}, {bottom}), cols=slice({left}, {right}), item={item})  # exact
layer.row(head={head}, query={top}, item={item})
layer.stats(item={item}).heads
"""


def downloads(source: Origin, run: Run, view: View, find: Callable[[], Layer]) -> None:
    """Offer the overview, exact weights of a part, the code and the link."""
    box = st.expander("Download and share", key="group:share", on_change="rerun")
    if not box.open:
        return
    rows, columns = window(run.layers[view.layer].shape, view)
    exact = f"queries {rows.start} to {rows.stop - 1}, keys {columns.start} to {columns.stop - 1}"

    def cells() -> bytes:
        return exact_npz(cached.shown(source), view)

    with box:
        with st.container(horizontal=True):
            _offer("overview .npz", lambda: overview_npz(find()), "overview.npz")
            _offer("exact weights .npz", cells, "weights.npz")
        st.caption(
            f"Exact weights: {exact} of all heads, around the chosen cell. PNG and SVG: the buttons above each figure. "
            "All weights together are too many for a file. This page's address reopens exactly this:"
        )
        st.code("?" + state.link(), language=None, wrap_lines=True)
        if isinstance(source, Scenario):
            st.code(code(source, find(), view, (rows, columns)), language="python")


def window(shape: tuple[int, int, int, int], view: View) -> tuple[slice, slice]:
    """Return the queries and keys around the chosen cell, or the first ones."""
    starts = [
        max(0, min((at or 0) - WINDOW // 2, end - WINDOW))
        for at, end in zip((view.query, view.key), shape[2:], strict=True)
    ]
    rows, columns = (slice(at, min(at + WINDOW, end)) for at, end in zip(starts, shape[2:], strict=True))
    return rows, columns


def overview_npz(layer: Layer) -> bytes:
    """Return the blocks of all heads that are computed: `largest` and `mean` [heads, rows, columns] and more."""
    known = PICTURES.known(layer)
    found = {head: picture for head, picture in enumerate(known) if picture is not None}
    arrays: dict[str, Any] = {"heads": np.array(list(found)), "side": np.array(layer.blocks.side)}
    if found:
        arrays |= {
            name: np.stack([getattr(picture, part) for picture in found.values()])
            for name, part in (("largest", "largest"), ("mean", "mean"), ("nan_rows", "bad"))
        }
    return _npz(arrays)


def exact_npz(run: Run, view: View) -> bytes:
    """Return `weights` [heads, queries, keys] around the chosen cell, and which queries and keys these are."""
    layer = run.layers[view.layer]
    rows, columns = window(layer.shape, view)
    heads = [long_heads.floats(layer.window(head, rows, columns, view.item)) for head in range(layer.shape[1])]
    about = {"queries": np.arange(rows.start, rows.stop), "keys": np.arange(columns.start, columns.stop)}
    return _npz({"weights": np.stack(heads), **about})


def code(s: Scenario, layer: Layer, view: View, part: tuple[slice, slice]) -> str:
    """Return the Python that computes the same."""
    rows, columns = part
    at = {"layer": view.layer, "head": view.head, "item": view.item, "size": layer.blocks.size}
    ends = {"top": rows.start, "bottom": rows.stop, "left": columns.start, "right": columns.stop}
    return CODE.format(query=s.to_query(), **at, **ends)


def _npz(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def _offer(label: str, make: Callable[[], bytes], name: str) -> None:
    st.download_button(label, make, file_name=name, mime=BINARY, on_click="ignore")
