"""The empty page: a number and a component that writes it, in one fragment. Nothing can be painted sooner."""

import gc

import streamlit as st

SCRIPT = """
export default function (component) {
  const place = component.parentElement.querySelector("div");
  place.textContent = component.data.seed;
  place.dataset.painted = component.data.seed;
}
"""
# Not isolated: what watches the page sees into no shadow root.
nothing = st.components.v2.component("nothing", html="<div></div>", js=SCRIPT, isolate_styles=False)


@st.cache_resource
def freeze() -> None:
    """Keep the garbage collection after each rerun out of the figure, as the app does."""
    import plotly.graph_objects
    import torch

    assert plotly
    assert torch
    gc.collect()
    gc.freeze()


@st.fragment
def page() -> None:
    nothing(key="nothing", data={"seed": st.number_input("seed", 0, 10_000, 0)})


freeze()
st.set_page_config(layout="wide")
page()
