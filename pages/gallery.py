"""Gallery: small setups that show something at once."""

import streamlit as st

from mha_viz import gallery
from mha_viz.ui import cached, state, style


def card(example: gallery.Example) -> None:
    """Draw one example: a small picture, what there is to see, and a button that opens it."""
    picture, words = st.columns([2, 3])
    picture.image(cached.thumbnail(example.name), width="stretch")
    words.markdown(f"**{example.name}**")
    words.caption(example.shows)
    opened = st.button("Open", key=f"open:{example.name}", on_click=state.put, args=(example.scenario,))
    if opened:
        st.switch_page("pages/explore.py")


style.write()
state.load()
for group in dict.fromkeys(example.group for example in gallery.EXAMPLES):
    st.subheader(group)
    members = [example for example in gallery.EXAMPLES if example.group == group]
    for start in range(0, len(members), 3):
        for column, example in zip(st.columns(3), members[start : start + 3], strict=False):
            with column.container(border=True, height="stretch"):
                card(example)
