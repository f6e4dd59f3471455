"""The few lines of style that Streamlit's own theme has no setting for."""

from __future__ import annotations

import streamlit as st

_STYLE = """
<style>
.stMainBlockContainer {padding-top: 4.5rem}
.stButtonGroup > div button {min-height: 2.5rem} /* that of the fields beside it */
.mha-table {border-collapse: collapse; font-size: 0.9rem; margin: 0.25rem 0}
.mha-table th, .mha-table td {padding: 3px 18px 3px 0; text-align: left; border: none; vertical-align: top}
.mha-table th {font-weight: 600}
.mha-steps td:last-child {font-variant-numeric: tabular-nums; white-space: nowrap}
.mha-tokens {line-height: 2.2; font-size: 1.05rem}
.mha-tokens span {padding: 3px 5px; border-radius: 4px}
</style>
"""


def write() -> None:
    """Add the style to the page; once for each run of the script, outside its fragment."""
    st.html(_STYLE)
