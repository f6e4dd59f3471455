"""The same weights through `st.plotly_chart` and `make_subplots`, as most Streamlit apps draw heatmaps."""

import gc

import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

import mha_viz as mv
from benchmarks.forward import bare_weights


@st.cache_resource
def freeze() -> None:
    """Keep the garbage collection after each rerun out of the figure, as the app does."""
    gc.collect()
    gc.freeze()


@st.fragment
def page() -> None:
    seed = st.number_input("seed", 0, 10_000, 0)
    asked = "&".join(f"{name}={value}" for name, value in st.query_params.items())
    weights = bare_weights(mv.Scenario.from_query(f"{asked}&seed={seed}"))[0].numpy()
    columns = min(4, len(weights))
    figure = make_subplots(rows=-(-len(weights) // columns), cols=columns)
    for head, values in enumerate(weights):
        trace = go.Heatmap(z=values, coloraxis="coloraxis")
        figure.add_trace(trace, row=head // columns + 1, col=head % columns + 1)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(height=700)
    st.plotly_chart(figure, key="chart")


freeze()
st.set_page_config(layout="wide")
page()
