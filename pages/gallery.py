"""Gallery: small setups that show something at once."""

import streamlit as st

from mha_viz import gallery
from mha_viz.ui import state


def open_example(name: str) -> None:
    """Make the example the session's Scenario; Explore shows it."""
    state.put(gallery.named(name).scenario)


state.load()
groups = dict.fromkeys(example.group for example in gallery.EXAMPLES)
for group in groups:
    st.subheader(group)
    columns = st.columns(3)
    for place, example in enumerate(e for e in gallery.EXAMPLES if e.group == group):
        with columns[place % 3].container(border=True):
            st.markdown(f"**{example.name}**")
            st.caption(example.shows)
            if st.button("Open", key=f"open:{example.name}", on_click=open_example, args=(example.name,)):
                st.switch_page("pages/explore.py")
