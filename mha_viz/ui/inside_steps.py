"""The steps of the Inside page: which stages of a trace each turns into which, and one sentence on it."""

from __future__ import annotations

from dataclasses import dataclass

ALL = "all"


@dataclass(frozen=True)
class Step:
    """One step of the way from input to output.

    Attributes:
        name: What links call it.
        label: What the control calls it, as short as can be.
        title: What the page calls it.
        sentence: What happens, for somebody who sees it for the first time.
        before: Stages of the trace that it starts from.
        after: Stages that it makes.
    """

    name: str
    label: str
    title: str
    sentence: str
    before: tuple[str, ...]
    after: tuple[str, ...]


STEPS = (
    Step(
        "input",
        "Input",
        "What goes in",
        "Each row is one token, given as E numbers. In self-attention query, key and value are the same tensor.",
        (),
        ("query", "key", "value"),
    ),
    Step(
        "projected",
        "QKV",
        "Query, key and value projections",
        "Three learned matrices turn each token into a query (what it looks for), a key (what it is found by) and a "
        "value (what it gives).",
        ("query", "key", "value"),
        ("q", "k", "v"),
    ),
    Step(
        "split",
        "Heads",
        "Split into heads",
        "The E columns are cut into H pieces of D columns, one piece for each head; from here on heads work alone.",
        ("q", "k", "v"),
        ("q_heads", "k_heads", "v_heads"),
    ),
    Step(
        "scores",
        "Scores",
        "Scores: query · key",
        "Row i of the queries times row j of the keys, summed over D: one number that says how well they match.",
        ("q_heads", "k_heads"),
        ("scores",),
    ),
    Step(
        "scaled",
        "Scale",
        "Scale by 1 / √D",
        "Sums of D products grow with D; dividing by √D keeps the softmax from picking one key alone.",
        ("scores",),
        ("scaled",),
    ),
    Step(
        "masked",
        "Mask",
        "Add the mask",
        "The mask adds −∞ where a query may not look, or a bias where it should look more or less; hatched cells are "
        "hidden.",
        ("scaled",),
        ("masked",),
    ),
    Step(
        "softmax",
        "Softmax",
        "Softmax of each row",
        "Each row becomes positive numbers that sum to 1; a hidden cell, e to the power of −∞, becomes exactly 0.",
        ("masked",),
        ("softmax",),
    ),
    Step(
        "weights",
        "Dropout",
        "Dropout",
        "In training, dropout sets some weights to 0 and enlarges the others; in eval mode nothing changes. These are "
        "the weights that the module returns.",
        ("softmax",),
        ("weights",),
    ),
    Step(
        "heads",
        "A·V",
        "Weights · values",
        "Each query takes a mixture of the values: row i is the sum over keys j of weight (i, j) times value j.",
        ("weights", "v_heads"),
        ("heads",),
    ),
    Step(
        "concatenated",
        "Join",
        "Heads side by side",
        "The results of the H heads are put side by side again: E columns, the first D of them from head 0.",
        ("heads",),
        ("concatenated",),
    ),
    Step(
        "output",
        "Output",
        "Output projection",
        "One more learned matrix mixes the heads; this is what the module returns as its output.",
        ("concatenated",),
        ("output",),
    ),
)
NAMES = (ALL, *(step.name for step in STEPS))
OVERVIEW = {
    "inside-vectors": (
        "What goes in, and what this head makes of it",
        ("query", "key", "value", "q_heads", "k_heads", "v_heads"),
    ),
    "inside-weights": (
        "From scores to weights: queries down, keys across",
        ("scores", "scaled", "masked", "softmax", "weights"),
    ),
    "inside-results": ("What comes out", ("heads", "concatenated", "output")),
}
"""The figures that are always shown, by key: a line above each, and its stages."""


def named(name: str) -> Step | None:
    """Return a step, or None for all at once."""
    return next((step for step in STEPS if step.name == name), None)


def beyond(name: str, by: int) -> str | None:
    """Return the name that comes `by` places after this one, or None past the ends."""
    at = NAMES.index(name) + by
    return NAMES[at] if 0 <= at < len(NAMES) else None
