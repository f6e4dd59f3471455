"""Reference: all masks, settings and keys, generated from what the app itself uses."""

import streamlit as st

from mha_viz.ui import reference, state, style

style.write()
state.load()
for title, table in reference.TABLES.items():
    st.subheader(title)
    st.markdown(table())
state.publish()
