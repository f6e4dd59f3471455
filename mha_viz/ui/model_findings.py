"""What the doctor says of the masks in a run, as they were passed."""

from __future__ import annotations

import streamlit as st

from mha_viz.attention.runs import Run
from mha_viz.doctor import RULES, Finding, Report
from mha_viz.remember import remembered
from mha_viz.ui import cached, origin, say
from mha_viz.ui.origin import Origin

MOST = 20


def _bytes(report: Report) -> int:
    return 2_000 * (1 + len(report.findings))


@remembered(4, key=origin.key, size=_bytes)
def _report(source: Origin) -> Report:
    """Return what the doctor says of a run's masks."""
    return cached.run(source).check()


def verdict(source: Origin) -> None:
    """Say the worst of what was found above the pictures, and nothing where the masks are right."""
    worst = next((finding for finding in _report(source).findings if finding.severity != "note"), None)
    if worst is not None:
        box = st.error if worst.severity == "error" else st.warning
        box(say.plain(f"{worst.message} More below, under what the doctor says."))


def findings(source: Origin) -> None:
    """Write what was found: for each rule the layer, the evidence, why it happens, and the fix as code."""
    found = _report(source).findings
    st.subheader("What the doctor says of the masks", anchor=False)
    if not found:
        _nothing(cached.run(source))
    for finding in found[:MOST]:
        with st.container(border=True):
            _finding(finding)
    if len(found) > MOST:
        st.caption(f"{len(found) - MOST} more are left out here; run.check() lists all.")


def _nothing(run: Run) -> None:
    """Say that nothing was found, which means little where no mask was passed."""
    masked = [layer for layer in run.layers if layer.attn_mask is not None or layer.key_padding_mask is not None]
    if masked:
        st.success("Nothing is wrong with the masks that were passed.")
    else:
        st.text("No layer was given a mask: every query may look at every key.")


def _finding(finding: Finding) -> None:
    rule = RULES[finding.rule]
    st.markdown(f"**{finding.severity.capitalize()}: {say.plain(rule.title)}** `{finding.rule}`")
    if finding.layer:
        st.text(f"In: {finding.layer}")
    st.text(finding.message)
    st.text(f"Seen: {finding.evidence}.")
    if finding.fix:
        st.code(finding.fix, language="python")
    with st.expander("Why"):
        st.text(rule.why)
