"""The parts of the Masks page that depend on what was checked; each draws one thing."""

from __future__ import annotations

import streamlit as st
import torch

from mha_viz import gallery
from mha_viz.attention.runs import Run
from mha_viz.doctor import MISTAKES, RULES, Finding
from mha_viz.errors import MhaVizError
from mha_viz.figures import heads, masks
from mha_viz.figures.panel import Panel
from mha_viz.given import CORRECT, Given
from mha_viz.masks.paint import painted
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, controls, held_finer, mask_proofs, mask_results, mask_words, plot, say, state, words
from mha_viz.ui.mask_results import Checked
from mha_viz.ui.view import View

BOXES = {"error": st.error, "warning": st.warning, "info": st.info, "note": st.info, "success": st.success}
FIGURE = "masks"


def everything(s: Scenario, given: Given) -> None:
    """Draw all that depends on the mask given and on what was intended."""
    with st.spinner("Running the layer and checking its mask", show_time=True):  # seen only where it takes a while
        intended, found = mask_results.intended(s, given), mask_results.checked(s, given)
    view = state.view().within(intended)
    run = mask_results.comparable(found, intended)
    difference = None if run is None else masks.difference(run, intended, item=view.item, head=view.head)
    verdict(given, found, difference)
    elsewhere(found, view)
    picture(s, given, found, run, intended, view)
    findings(found)
    if run is not None:
        weights(s, given, run, intended, view)
    elif found.run is not None:
        misshapen(found.run)
    mask_proofs.boxes(s, given, found, run, view)


def verdict(given: Given, found: Checked, difference: masks.Difference | None) -> None:
    """Say the one sentence that matters most, offer the fix, and show the code that people write."""
    written = "" if given.file or given.mistake == CORRECT else MISTAKES[given.mistake].code
    left, right = st.columns([3, 2]) if written else (st.container(), st.empty())
    kind, sentence = mask_words.verdict(found.report, found.refusal, difference)
    with left:
        BOXES[kind](say.plain(sentence))
        with st.container(horizontal=True):
            worst = next((f for f in found.report.findings if f.severity != "note"), None)
            if worst is not None and RULES[worst.rule].repair is not None:
                _fix_button(given, worst, "Fix it", "primary")
            if given.fixes:
                st.button(
                    "Show it broken again", key="unfix", on_click=state.bring, args=(Given,), kwargs={"fixed": ""}
                )
    if written:
        right.code(mask_words.code(MISTAKES[given.mistake], found.fixes), language="python", wrap_lines=True)
    if written and not given.fixes and not found.report.of(MISTAKES[given.mistake].rule):
        _no_harm(given.mistake)


def _no_harm(mistake: str) -> None:
    """Say that a mistake cannot be seen with these settings, and offer ones with which it can."""
    st.info("With these settings this mistake does no harm, or has no place.")
    example = gallery.of_mistake(mistake)
    st.button("Show it where it does", key="harm", on_click=controls.open_example, args=(example,))


def _fix_button(given: Given, finding: Finding, label: str, kind: str = "secondary") -> None:
    fixed = ", ".join((*given.fixes, finding.rule))
    about = "Applies the fix to the mask given and shows it before and after."
    st.button(
        label,
        key=f"fix:{kind}:{finding.rule}",
        type="primary" if kind == "primary" else "secondary",
        help=about,
        on_click=state.bring,
        args=(Given,),
        kwargs={"fixed": fixed},
    )


def elsewhere(found: Checked, view: View) -> None:
    """Offer to show the batch item and head of the first finding, where the figures show others."""
    wrong = [finding for finding in found.report.findings if finding.severity != "note"]
    where = next((place for finding in wrong for place in finding.where), (None, None))
    item, head = (shown if at is None else at for at, shown in zip(where[:2], (view.item, view.head), strict=True))
    if (item, head) != (view.item, view.head):
        label = f"Show batch item {item}, head {head}, where it was found"
        st.button(label, key="elsewhere", on_click=state.look, kwargs={"item": item, "head": head})


def picture(s: Scenario, given: Given, found: Checked, run: Run | None, intended: Run, view: View) -> None:
    """Draw the mask as given, as intended and the difference; the intended one can be painted."""
    at = {"item": view.item, "head": view.head}
    if run is None:
        meant = mask_results.written_cells(s, found.case, view.item, view.head)
        spec = masks.written(meant.numpy(), intended, refused=bool(found.refusal), **at)
        lines = [found.refusal] if found.refusal else []
    else:
        difference = masks.difference(run, intended, **at)
        before = mask_results.checked(s, given.before) if given.before is not None else None
        earlier = None if before is None else mask_results.comparable(before, intended)
        padded = run.layers[0].key_padding_mask is not None
        spec, lines = masks.comparison(run, intended, before=earlier, **at), mask_words.legend(difference, padded)
    titles = [panel["title"] for panel in spec["layout"]["meta"]["panels"]]
    whole = spec["layout"]["meta"]["pool"] == 1
    plot.heatmaps(
        spec,
        key=FIGURE,
        alt=f"The mask {', '.join(titles)}",
        on_paint=_paint if whole else None,
        paintable=[titles.index(masks.INTENDED)],
        allowed=mask_results.intended_cells(s, view.item, view.head).numpy() if whole else None,
        filename="mask",
        heading=mask_words.headline(s, found.case),
        lines=lines,
    )


def _paint() -> None:
    """Take over what was painted on the intended mask, as part of its text."""
    said = plot.painted(FIGURE)
    if said == "undo":
        state.undo()
    elif said == "redo":
        state.redo()
    elif isinstance(said, plot.Stroke):
        s = state.scenario().alone
        view = state.view().within(cached.run(s))
        cells = mask_results.intended_cells(s, view.item, view.head)
        toggled = torch.zeros_like(cells)
        for query, first, last in said.runs:
            if query < len(cells):
                toggled[query, first : last + 1] = cells[query, first : last + 1] != said.value
        try:
            state.change(mask=painted(s.mask, toggled))
        except MhaVizError as error:
            state.refuse(str(error))


def findings(found: Checked) -> None:
    """Write what the doctor found: for each rule the evidence, why it happens, and the fix as code."""
    if not found.report.findings:
        return
    st.subheader("Findings", anchor=False)
    for number, finding in enumerate(found.report.findings):
        with st.container(border=True):
            _finding(finding, number)


def _finding(finding: Finding, number: int) -> None:
    rule = RULES[finding.rule]
    st.markdown(f"**{finding.severity.capitalize()}: {say.plain(rule.title)}** `{finding.rule}`")
    st.text(finding.message)
    st.text(f"Seen: {finding.evidence}.")
    if finding.fix:
        st.code(finding.fix, language="python")
    if rule.repair is not None:
        _fix_button(state.given(), finding, "Apply this fix", str(number))
    with st.expander("Why"):
        st.text(rule.why)
        if where := mask_words.places([finding]):
            st.text(where)


def weights(s: Scenario, given: Given, run: Run, intended: Run, view: View) -> None:
    """Draw the weights of every head under the mask given; a weight that the intent forbids is a violation."""
    st.subheader("Weights under the mask given", anchor=False)
    judged = masks.judged(run, intended)
    controls.view_bar(run, view, show=False)
    spec = heads.head_grid(judged, item=view.item, scale=view.colours, cells=plot.most_cells())

    def panels() -> list[Panel]:
        again = mask_results.judged(s, given)
        assert again is not None, "what was drawn once has these shapes"
        return heads.head_panels(again, item=view.item, scale=view.colours)

    about = ("masks", *mask_results.key(s, given), view.item, view.colours)
    names = judged.query_tokens(view.item), judged.key_tokens(view.item)
    finer = held_finer.of(panels, spec, names, about)
    plot.heatmaps(
        spec,
        key="given",
        alt=f"Attention weights of {run.layers[0].weights.shape[1]} heads under the mask given",
        filename="weights",
        heading=words.headline(judged),
        lines=[*words.caption(judged, view.item, masked="meant to be masked"), *plot.refined(finer.side)],
        finer=finer,
    )


def misshapen(run: Run) -> None:
    """Draw the weights of a run whose shape is not the one that was meant."""
    st.subheader("Weights under the mask given", anchor=False)
    plot.heatmaps(
        heads.head_grid(run),
        key="misshapen",
        alt="Attention weights, in a shape that was not meant",
        filename="weights",
        heading=words.headline(run),
        lines=["Not the shape that was meant, so there is nothing to compare cell by cell."],
    )
