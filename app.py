"""MHA Viz: both the script that Streamlit runs for each visitor and the ASGI application around it.

`streamlit run app.py` finds the assignment to `app`, imports this file as a module and serves that object, which in
turn runs this file again as `__main__`. A host that only runs the script gets the pages without the extra headers.
Nothing is drawn here: the pages draw.
"""

from __future__ import annotations

import streamlit as st

from mha_viz.ui import server

if __name__ == "__main__":
    server.boot()
    pages = [
        st.Page("pages/explore.py", title="Explore", default=True),
        st.Page("pages/inside.py", title="Inside"),
        st.Page("pages/masks.py", title="Masks"),
        st.Page("pages/your_model.py", title="Your model"),
        st.Page("pages/compare.py", title="Compare"),
        st.Page("pages/gallery.py", title="Gallery"),
        st.Page("pages/reference.py", title="Reference"),
    ]
    page = st.navigation(pages, position="top")
    st.set_page_config(page_title=f"{page.title} · MHA Viz", layout="wide")
    page.run()
else:
    app = st.App(__file__, lifespan=server.lifespan, routes=server.routes(), middleware=server.middleware())
