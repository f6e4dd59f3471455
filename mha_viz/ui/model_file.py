"""The control that takes a run file."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from mha_viz.errors import MhaVizError
from mha_viz.export.run_file import SUFFIX
from mha_viz.ui import origin, say, state
from mha_viz.ui.origin import RunFile


def uploader(label: str, *, key: str, current: RunFile, take: Callable[[RunFile], None]) -> None:
    """Draw the control that takes a run file.

    Args:
        label: What it is called.
        key: The control's key.
        current: The run file that is in use.
        take: Called with what was uploaded, if it can be read.
    """

    def commit() -> None:
        file = st.session_state[key]
        if file is None:
            return
        try:
            found = origin.keep(file.getvalue(), file.name)
        except MhaVizError as error:
            state.refuse(str(error))
        else:
            take(found)

    about = "What run.save('run.safetensors') wrote. It is kept in this server's memory and never written to a disk."
    st.file_uploader(label, type=[SUFFIX.removeprefix(".")], key=key, help=about, on_change=commit)
    if name := origin.name(current):
        say.caption("in use: " + name)
