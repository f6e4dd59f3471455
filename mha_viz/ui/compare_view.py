"""What both sides of the Compare page share of the view: the colour scale, and the layer, head and item."""

from __future__ import annotations

from typing import Any

import streamlit as st

from mha_viz import settings
from mha_viz.attention.compare import Comparison
from mha_viz.figures.grammar import SCALES
from mha_viz.ui import state
from mha_viz.ui.compare_sides import PLACES
from mha_viz.ui.pair import Pair
from mha_viz.ui.view import View


def bar(found: Comparison, pair: Pair) -> None:
    """Draw the choices that both sides share.

    Args:
        found: What is compared; its left side says how many layers, heads and items there are.
        pair: Its sides; what one of them names itself is not chosen here.
    """
    view, left = state.view().within(found.left.run), found.left
    items, heads = left.record.weights.shape[:2]
    counts = {"layer": len(left.run.layers), "head": heads, "item": items}
    named = [side.place for side in pair.sides]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        about, common = _common("scale", view.colours)
        st.segmented_control(about.label, SCALES, required=True, **common)
        for name in PLACES:
            own = [getattr(place, name) is not None or (name == "head" and place.average) for place in named]
            if counts[name] > 1 and not all(own):
                about, common = _common(name, getattr(view, name))
                st.number_input(about.label or name, 0, counts[name] - 1, width=130, **common)


def _common(name: str, value: Any) -> tuple[settings.Setting, dict[str, Any]]:
    about, key = settings.metadata(View)[name], f"w:view:{name}"
    st.session_state[key] = value

    def look() -> None:
        state.look(**{name: st.session_state[key]})

    return about, {"key": key, "help": about.help, "on_change": look}
