"""The reach of a whole stack: what its outputs depend on."""

from __future__ import annotations

from typing import Any

import streamlit as st
from torch import Tensor

from mha_viz.attention.runs import Run
from mha_viz.attention.stack_reach import Side, reach_of
from mha_viz.errors import CapacityError
from mha_viz.figures import depth as figures
from mha_viz.inputs.assemble import sizes
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, plot

MOST = 128
"""Tokens up to which the page works it out: each is a forward of the whole stack."""


def _bytes(found: Tensor) -> int:
    return found.nbytes


@remembered(16, key=lambda s, of: (s.to_query(), of), size=_bytes)
def _reached(s: Scenario, of: Side) -> Tensor:
    with cached.turn():
        return reach_of(s, of)


def draw(s: Scenario, run: Run) -> None:
    """Draw what the outputs of a stack depend on, from its query or from its memory."""
    of: Side = "query"
    if s.has_memory:
        choice: dict[str, Any] = {"query": "of the target", "key": "of the memory"}
        st.session_state.setdefault("w:reach", "query")
        picked = st.segmented_control(
            "inputs", list(choice), key="w:reach", format_func=choice.__getitem__, required=True
        )
        of = "key" if picked == "key" else "query"
    length = sizes(s).key_len if of == "key" else sizes(s).query_len
    if length > MOST:
        raise CapacityError(
            f"The page works out reach for at most {MOST} tokens, not {length:,}: mv.reach has no such limit."
        )
    with st.spinner("Replacing each input token in turn", show_time=True):
        found = _reached(s, of)
    spec = figures.reached(run, found, of=of)
    plot.heatmaps(spec, key=f"depth:reach:{of}", alt="What each output of the stack depends on", filename="reach")
