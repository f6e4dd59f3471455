"""What the Masks page works out, shared by everyone on this server like the runs of Explore."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st
import torch
from torch import Tensor

from mha_viz import gallery, masks, settings
from mha_viz import given as brought
from mha_viz.attention.path_table import PathTable
from mha_viz.attention.reach_check import Comparison
from mha_viz.attention.runs import Run
from mha_viz.doctor import Case, Report, examine
from mha_viz.errors import MhaVizError
from mha_viz.figures import masks as drawn
from mha_viz.figures.thumbnail import data_url
from mha_viz.figures.thumbnail import thumbnail as draw_thumbnail
from mha_viz.given import Given
from mha_viz.inputs.assemble import sizes
from mha_viz.masks.recognise import Recognised, recognise
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario
from mha_viz.ui import cached

BUDGET_MB = 192


@dataclass(frozen=True, eq=False)
class Checked:
    """A mask as given, and what came of it.

    Attributes:
        case: The call.
        report: What the doctor says.
        run: The layer under the masks as given; None where torch refuses them.
        refusal: Why it did, in one sentence, or an empty text.
        fixes: The code of each fix that was applied.
    """

    case: Case
    report: Report
    run: Run | None
    refusal: str
    fixes: tuple[str, ...]


def key(s: Scenario, given: Given) -> tuple[str, str]:
    """Return what a cache knows the mask given, and the layer around it, by."""
    return s.to_query(), settings.to_query(given)


def _bytes(found: Checked) -> int:
    held = [found.case.attn_mask, found.case.key_padding_mask]
    if found.run is not None:
        layer = found.run.layers[0]
        held += [layer.weights, layer.average, layer.output]
    return 10_000 + sum(tensor.nbytes for tensor in held if tensor is not None)


@remembered(BUDGET_MB, key=key, size=_bytes)
def checked(s: Scenario, given: Given) -> Checked:
    """Return what comes of the mask given; errors are those of `mha_viz.given.case`."""
    with cached.turn(s):
        case, fixes = brought.fixed_case(s, given)
        try:
            run = brought.run(s, case)
        except MhaVizError as error:
            return Checked(case, examine(case), None, str(error), fixes)
        return Checked(case, examine(case.but(weights=run.layers[0].weights.cpu())), run, "", fixes)


def _run_bytes(run: Run) -> int:
    return run.layers[0].weights.nbytes


@remembered(64, key=key, size=_run_bytes)
def intended(s: Scenario, given: Given) -> Run:
    """Return the layer's run under the masks that were intended."""
    case = checked(s, given).case
    with cached.turn(s):
        return cached.run(s) if case.intent == brought.intent(s) else brought.intended(s, case)


def comparable(found: Checked, intended: Run) -> Run | None:
    """Return the run under the mask given, if there is one and it has the shape of the intended one."""
    run = found.run
    return run if run is not None and run.layers[0].weights.shape == intended.layers[0].weights.shape else None


def judged(s: Scenario, given: Given) -> Run | None:
    """Return the run under the mask given with the masks that were intended; None where the two are of other shapes."""
    wanted = intended(s, given)
    run = comparable(checked(s, given), wanted)
    return None if run is None else drawn.judged(run, wanted)


def _reach_bytes(found: tuple[Tensor, Comparison]) -> int:
    return 2 * found[0].nbytes


@remembered(32, key=key, size=_reach_bytes)
def reach(s: Scenario, given: Given) -> tuple[Tensor, Comparison]:
    """Return what the outputs depend on under the mask given; see `mha_viz.given.reach_under`."""
    case = checked(s, given).case  # before the turn, which somebody who is making it may be waiting for
    with cached.turn():
        return brought.reach_under(s, case)


def _few_bytes(table: PathTable) -> int:
    return 1_000 * len(table.rows) + sum(16 * len(row.differing) for row in table.rows)


@remembered(8, key=key, size=_few_bytes)
def paths(s: Scenario, given: Given) -> PathTable:
    """Return what every execution path of torch makes of the mask given."""
    case = checked(s, given).case
    with cached.turn(s):
        return brought.paths_under(s, case)


def intended_cells(s: Scenario, item: int, head: int) -> Tensor:
    """Return what the mask's text alone allows in one head of one batch item, bool [L, S]."""
    size = sizes(s)
    allowed = masks.mask(s.mask).allowed(
        size.query_len, size.key_len, batch_size=size.batch_size, num_heads=s.num_heads
    )
    return allowed.expand(size.batch_size, s.num_heads, size.query_len, size.key_len)[item, head]


def written_cells(s: Scenario, case: Case, item: int, head: int) -> Tensor:
    """Return what the masks of a case were meant to allow in one head of one batch item, bool [L, S].

    A mask whose shape cannot be read counts as allowing everything.
    """
    size = sizes(s)
    shape = (size.batch_size, s.num_heads, size.query_len, size.key_len)
    allowed = torch.ones(shape[2:], dtype=torch.bool)
    for part in (case.attn_allowed, case.padding_allowed):
        if part is not None and all(own in (1, of) for own, of in zip(part.shape, shape, strict=True)):
            allowed = allowed & part.expand(shape)[item, head]
    return allowed


def explanations(case: Case) -> list[Recognised]:
    """Return the patterns that explain the mask given best, without a word on what was intended."""
    raw = case.key_padding_mask if case.attn_mask is None else case.attn_mask
    return [] if raw is None else recognise(raw, most=3, num_heads=case.num_heads or 1)


@st.cache_data(max_entries=len(gallery.PITFALLS), show_spinner=False)
def thumbnail(example: str) -> str:
    """Return the small picture of an example of the Masks page, as a URL that holds it.

    It is broken as the example is; as intended where torch refuses it.
    """
    about = gallery.named(example)
    s, given = about.scenario, about.given or Given()
    shown = judged(s, given) or checked(s, given).run or intended(s, given)
    return data_url(draw_thumbnail(shown, item=min(about.item, len(shown.layers[0].weights) - 1)))
