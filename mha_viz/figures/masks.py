"""What a mask does beside what was intended: as given, as intended, and the difference."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mha_viz.attention.reach_check import Comparison
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.stats import of_item
from mha_viz.figures import states
from mha_viz.figures.grammar import ALLOWED_COLOUR, MASKED, PLAIN, VIOLATION, WARNING_COLOUR, Codes, Floats, Spec
from mha_viz.figures.heads import spec_of
from mha_viz.figures.panel import Panel

SAME, LOST, LEAK = range(3)
LOST_COLOUR = "rgb(240,180,41)"
BEFORE, GIVEN, INTENDED, DIFFERENCE = "before the fix", "as given", "as intended", "difference"
WRITTEN, REFUSED = "as written", "as written, refused by torch"
_COLOURS = [(0.0, ALLOWED_COLOUR), (0.5, LOST_COLOUR), (1.0, WARNING_COLOUR)]

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Difference:
    """How one head's given mask differs from the intended one.

    Attributes:
        cells: Cells in all, L · S.
        leaks: Cells that are open and should be hidden.
        lost: Cells that are hidden and should be open.
    """

    cells: int
    leaks: int
    lost: int


def comparison(given: Run, intended: Run, *, before: Run | None = None, item: int = 0, head: int = 0) -> Spec:
    """Return heatmaps [L, S] with common axes: the mask as given, as intended, and the difference.

    A cell counts as open where the layer may look: no mask hides it, and a finite penalty has not pressed its weight
    to exactly 0. Hover tells the weight under the mask of that panel; in the difference, under the given one.

    Args:
        given: The run under the masks as given.
        intended: The run of the same sizes under the masks as intended.
        before: The run before the last fix, for a panel of its own at the left.
        item: Batch item, below N.
        head: Head, below H.
    """
    runs = {BEFORE: before, GIVEN: given, INTENDED: intended}
    panels = [_of_mask(title, run.layers[0], item, head) for title, run in runs.items() if run is not None]
    is_open, wanted = (opened(run.layers[0], item, head) for run in (given, intended))
    kinds = np.where(is_open == wanted, SAME, np.where(is_open, LEAK, LOST)).astype(np.float32)
    codes = np.where(kinds == LEAK, VIOLATION, np.where(is_open | wanted, PLAIN, MASKED)).astype(np.uint8)
    return spec_of(given, 0, item, [*panels, _panel(DIFFERENCE, kinds, _weights(given.layers[0], item, head), codes)])


def written(meant: Bools, intended: Run, *, refused: bool, item: int = 0, head: int = 0) -> Spec:
    """Return two heatmaps [L, S] where no weights of that shape came out: what the mask was meant to allow, and should.

    Args:
        meant: bool [L, S], True where a query may attend by the mask given.
        intended: The run under the masks as intended.
        refused: Whether torch refused the call; else it took the input for one of another shape.
        item: Batch item, below N.
        head: Head, below H.
    """
    codes = np.where(meant, PLAIN, MASKED).astype(np.uint8)
    kinds = np.full(meant.shape, SAME, dtype=np.float32)
    given = _panel(REFUSED if refused else WRITTEN, kinds, kinds, codes)
    return spec_of(intended, 0, item, [given, _of_mask(INTENDED, intended.layers[0], item, head)])


def difference(given: Run, intended: Run, *, item: int = 0, head: int = 0) -> Difference:
    """Count what `comparison` shows."""
    is_open, wanted = (opened(run.layers[0], item, head) for run in (given, intended))
    return Difference(is_open.size, int((is_open & ~wanted).sum()), int((wanted & ~is_open).sum()))


def opened(layer: LayerAttention, item: int, head: int) -> Bools:
    """Return where the layer may look, bool [L, S]: no mask hides the cell, and its weight is not exactly 0.

    With dropout the weights say nothing, so the masks alone decide; so do they in rows that are NaN.
    """
    allowed = of_item(layer.allowed, item).expand(-1, *layer.weights.shape[2:])
    found = allowed[head if len(allowed) > 1 else 0].cpu()
    if not layer.dropout:
        found = found & (layer.held[item, head] != 0).cpu()
    looks: Bools = found.numpy()
    return looks


def dependence(run: Run, found: Tensor, compared: Comparison, *, item: int = 0) -> Spec:
    """Return a heatmap [L_out, L_in]: which outputs depend on which inputs, against what they may depend on.

    Args:
        run: Any run of these sizes, for its token labels.
        found: The reach, [N, L_out, L_in].
        compared: The same, compared with the intent.
        item: Batch item, below N.
    """
    leaks, absent = (part[item].numpy() for part in (compared.leaks, compared.absent))
    kinds = np.where(leaks, LEAK, np.where(absent, LOST, SAME)).astype(np.float32)
    depends = (found[item] > 0).numpy()
    codes = np.where(leaks, VIOLATION, np.where(depends | absent, PLAIN, MASKED)).astype(np.uint8)
    plain = replace(run, layers=(replace(run.layers[0], extra_keys=()),))
    spec = spec_of(plain, 0, item, [_panel("what each output depends on", kinds, found[item].float().numpy(), codes)])
    spec["layout"]["meta"] |= {"query_title": "output", "key_title": "input", "value_title": "change"}
    return spec


def judged(given: Run, intended: Run) -> Run:
    """Return a run with its weights as they are and the masks that were intended.

    Every figure, table and caption then calls a weight on a cell that the intent forbids a violation.
    """
    wanted = intended.layers[0]
    layer = replace(given.layers[0], attn_mask=wanted.attn_mask, key_padding_mask=wanted.key_padding_mask)
    return replace(given, layers=(layer,))


def _of_mask(title: str, layer: LayerAttention, item: int, head: int) -> Panel:
    """Return the panel of what the masks of one head let through."""
    weights = _weights(layer, item, head)
    return _panel(title, np.full_like(weights, SAME), weights, _hidden(layer, item, head))


def _panel(title: str, kinds: Floats, weights: Floats, codes: Codes) -> Panel:
    return Panel(title, kinds, weights, codes, float(SAME), float(LEAK), _COLOURS, None)


def _weights(layer: LayerAttention, item: int, head: int) -> Floats:
    weights: Floats = layer.held[item, head].float().cpu().numpy()
    return weights


def _hidden(layer: LayerAttention, item: int, head: int) -> Codes:
    """Return codes [L, S] of which mask hides a cell; one that only a penalty has pressed to 0 counts for attn_mask."""
    codes = states.of_mask(layer, item, head)
    by_masks = np.zeros(layer.weights.shape[2:], dtype=np.uint8) if codes is None else codes
    return np.where(opened(layer, item, head) | (by_masks > 0), by_masks, np.uint8(MASKED))
