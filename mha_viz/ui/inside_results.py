"""Traces and their figures, shared by everyone on this server and bounded by the bytes they hold."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod

from mha_viz.attention import memory
from mha_viz.attention import trace as tracing
from mha_viz.attention.moved import Moved, moved
from mha_viz.attention.trace import Trace
from mha_viz.errors import CapacityError
from mha_viz.figures.grammar import Spec
from mha_viz.inputs.assemble import sizes as sizes_of
from mha_viz.remember import remembered
from mha_viz.scenario import ATTENTION, Scenario
from mha_viz.ui import cached, inside_figures, origin, sizes
from mha_viz.ui.origin import Origin

BUDGET_MB = 256
MOST_BYTES = 32 * 2**20
"""Of one stage [N, H, L, S]: a page that shows more would take seconds for each click."""


def _bytes(trace: Trace) -> int:
    return sum({id(stage.tensor): stage.tensor.nbytes for stage in trace.stages}.values())


def _table_bytes(found: tuple[Moved, ...]) -> int:
    return 200 * len(found)


@remembered(BUDGET_MB, key=lambda source, layer, edits="": (origin.key(source), layer, edits), size=_bytes)
def traced(source: Origin, layer: int, edits: str = "") -> Trace:
    """Return the steps of one layer, with edits if there are any.

    Raises:
        CapacityError: They are too large for a page.
        MhaVizError: As `mha_viz.run` and `mha_viz.trace`.
    """
    if edits:
        return traced(source, layer).edited(edits)
    run = cached.run(source)
    weights = run.layers[layer].weights
    _check(weights.shape, weights.dtype.itemsize)
    with cached.turn(source):
        return tracing.trace(run, layer=layer)


def check(source: Origin) -> None:
    """Refuse what is too large for the page before it is run; a run that is there already is not looked at.

    Raises:
        CapacityError: The weights of one attention call would be.
    """
    if isinstance(source, Scenario):
        size = sizes_of(source)
        calls = [(size.query_len, size.key_len)]
        if source.stack != ATTENTION:
            calls = [(length, keys) for length, keys, _ in memory.attention_calls(source, size)]
        for length, keys in calls:
            _check((size.batch_size, source.num_heads, length, keys), memory.ITEM_BYTES[source.dtype])


def _check(shape: Sequence[int], item: int) -> None:
    """Refuse weights [N, H, L, S] with so many bytes in an item if they are too large."""
    n, heads, length, keys = shape
    needed = prod(shape) * item
    if needed > MOST_BYTES:
        cells = MOST_BYTES // (n * heads * item)
        shorter = isqrt(cells) if length == keys else cells // keys
        raise CapacityError(
            f"This page shows weights of at most {memory.spelled(MOST_BYTES)}, but {list(shape)} would be "
            f"{memory.spelled(needed)}: reduce query_len to {max(1, shorter):,}, use fewer heads or batch items, or "
            "mha_viz.trace in Python.",
            field="query_len",
        )


@remembered(
    64, key=lambda source, layer, edits, *what: (origin.key(source), layer, edits, what), size=sizes.figure_bytes
)
def figure(source: Origin, layer: int, edits: str, names: tuple[str, ...], item: int, head: int, change: bool) -> Spec:
    """Return several stages side by side; with `change`, each beside its difference to the trace without edits."""
    before = traced(source, layer) if change and edits else None
    return inside_figures.figure(traced(source, layer, edits), names, item, head, before)


@remembered(1, key=lambda source, layer, edits: (origin.key(source), layer, edits), size=_table_bytes)
def what_moved(source: Origin, layer: int, edits: str) -> tuple[Moved, ...]:
    """Return how far each stage moved by the edits."""
    return moved(traced(source, layer), traced(source, layer, edits))
