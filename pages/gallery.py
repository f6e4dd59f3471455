"""Gallery: small setups that show something at once."""

import streamlit as st

from mha_viz import gallery
from mha_viz.ui import cached, controls, mask_results, state, style, threads

THUMBNAIL = 125
"""Pixels: fills its column on a large screen, and leaves room for the words on a phone."""


def card(example: gallery.Example) -> None:
    """Draw one example: a small picture, what there is to see, and a button that opens it."""
    picture, words = st.columns([2, 3])
    thumbnail = cached.thumbnail if example.given is None else mask_results.thumbnail
    picture.image(thumbnail(example.name), width=THUMBNAIL)
    words.markdown(f"**{example.name}**")
    words.caption(example.shows)
    opened = st.button("Open", key=f"open:{example.name}", on_click=controls.open_example, args=(example,))
    if opened:
        st.switch_page(f"pages/{example.page}.py")


threads.settle()
style.write()
state.load()
for group in dict.fromkeys(example.group for example in gallery.EXAMPLES):
    st.subheader(group)
    members = [example for example in gallery.EXAMPLES if example.group == group]
    for start in range(0, len(members), 3):
        for column, example in zip(st.columns(3), members[start : start + 3], strict=False):
            with column.container(border=True, height="stretch"):
                card(example)
state.publish()
