"""Waiting for a turn on a page: the visitor is told the place in line, and a visitor who leaves gives it up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st
from streamlit import runtime
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx
from streamlit.runtime.scriptrunner_utils.script_requests import ScriptRequestType

from mha_viz.ui import threads, turns


@contextmanager
def turn(needless: Callable[[], bool]) -> Iterator[None]:
    """Wait for this session's turn and hold it for the block.

    Args:
        needless: Says whether another session has computed meanwhile what is waited for.

    Raises:
        CapacityError: The line is full.
    """
    threads.step_aside()
    context = get_script_run_ctx(suppress_warning=True)
    if context is None:  # a download, which Streamlit makes in a thread of its own
        with turns.of_server().turn(f"thread {threading.get_ident()}", needless=needless):
            yield
        return
    line = _Line(context.session_id)
    with turns.of_server().turn(context.session_id, tell=line.tell, needless=needless):
        line.leave()
        yield


def is_outdated() -> bool:
    """Return whether the session has asked for another run: Streamlit lets a fragment's own change wait."""
    context = get_script_run_ctx(suppress_warning=True)
    requests = context.script_requests if context is not None else None
    return requests is not None and requests._state == ScriptRequestType.RERUN


class _Line:
    """The text that says where in line a session is; nothing is drawn for who need not wait."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._drawn: DeltaGenerator | None = None

    def tell(self, place: int) -> None:
        """Write the place; end the run instead if a newer setting waits for it to end, or nobody is there any more."""
        self._give_up_if_needless()
        if self._drawn is None:
            self._drawn = st.empty()
        self._drawn.text(f"Others are computing. Position in line: {place}")

    def leave(self) -> None:
        """Take the text away at the end of the line, where `tell` may not have been called for a while."""
        if self._drawn is not None:
            self._give_up_if_needless()
            self._drawn.empty()

    def _give_up_if_needless(self) -> None:
        if is_outdated() or (runtime.exists() and not runtime.get_instance().is_active_session(self._session)):
            raise StopException  # st.stop() would also drop the newer setting
