"""What happens through the depth of a run of several layers: entropy, rollout, similarity of heads, norms, reach."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mha_viz.attention import depth as measures
from mha_viz.attention.runs import Run
from mha_viz.errors import MhaVizError
from mha_viz.figures import depth as figures
from mha_viz.figures.grammar import Spec
from mha_viz.scenario import ATTENTION, Scenario
from mha_viz.ui import depth_reach, plot, say
from mha_viz.ui.origin import Origin
from mha_viz.ui.view import View

ENTROPY, ROLLOUT, SIMILARITY, NORMS, REACH = "entropy", "rollout", "similar heads", "residual norm", "reach"

ABOUT = {
    ENTROPY: "How widely each head spreads its weights, in bits, the mean over queries: 0 looks at one key, log2 of "
    "the number of keys at all alike.",
    ROLLOUT: "Attention of all layers so far multiplied together, half of each left to the residual connection "
    "(Abnar & Zuidema 2020): how much of each output's mix comes from each input. It follows the weights alone.",
    SIMILARITY: "1 where two heads have the same weights, 0 where they share no key: 1 minus their Jensen-Shannon "
    "divergence, the mean over queries.",
    NORMS: "Length of the tokens' vectors as they enter the stack and leave each layer: the mean over tokens, and "
    "the range from the smallest to the largest.",
    REACH: "Which inputs each output of the whole stack really depends on, found by replacing them one by one.",
}


def depth(source: Origin, run: Run, view: View) -> None:
    """Draw what is seen through the layers, in a box that costs nothing while it is closed."""
    box = st.expander("Through the layers", key="group:depth", on_change="rerun")
    if not box.open:
        return
    with box:
        kinds = _offered(source, run, view)
        if st.session_state.get("w:depth") not in kinds:
            st.session_state["w:depth"] = kinds[0]
        st.segmented_control("what", kinds, key="w:depth", required=True, label_visibility="collapsed")
        shown: str = st.session_state["w:depth"]
        st.caption(ABOUT[shown])
        try:
            _draw(shown, source, run, view)
        except MhaVizError as error:
            say.caption(error)


def _offered(source: Origin, run: Run, view: View) -> list[str]:
    """Return what can be said of this run, in order."""
    stack = isinstance(source, Scenario) and source.stack != ATTENTION
    chained = any(view.layer in chain.layers for chain in measures.chains(run))
    there = {ENTROPY: True, ROLLOUT: chained, SIMILARITY: True, NORMS: bool(run.norms), REACH: stack}
    return [name for name, offered in there.items() if offered]


def _draw(shown: str, source: Origin, run: Run, view: View) -> None:
    if shown == REACH:
        assert isinstance(source, Scenario)
        depth_reach.draw(source, run)
        return
    make: dict[str, Callable[[], Spec]] = {
        ENTROPY: lambda: figures.entropies(run, view.item),
        ROLLOUT: lambda: figures.rollout(run, view.item, view.layer),
        SIMILARITY: lambda: figures.similarity(run, view.item, view.layer),
        NORMS: lambda: figures.norms(run, view.item),
    }
    plot.heatmaps(make[shown](), key=f"depth:{shown}", alt=f"{shown} through the layers", filename=shown)
