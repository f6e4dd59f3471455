"""What the Compare page says: pure functions of a comparison. Plain text, nothing escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mha_viz.attention.compare import Comparison, Moved, Selected
from mha_viz.ui.compare_sides import Compared


def headline(of: Compared) -> str:
    """Say what is compared with what."""
    left, right = of.names
    same = f" · both: {of.common}" if of.common else ""
    return f"left: {left} · right: {right}{same}"


def titles(of: Compared) -> tuple[str, str]:
    """Return what the panels of the two sides are called."""
    return f"left: {of.names[0]}", f"right: {of.names[1]}"


def summary(found: Comparison) -> list[str]:
    """Say how much differs, and what cannot be compared."""
    if not found.changed:
        said = [f"None of {found.cells:,} weights differs."]
    else:
        share = "" if math.isnan(found.variation) else f" · {_moved(found)}"
        said = [f"{found.changed:,} of {found.cells:,} weights differ, by at most {found.largest:.3g}{share}."]
    if dropout := max(found.left.record.dropout, found.right.record.dropout):
        rule = f"a weight is set to 0 or divided by {1 - dropout:g}" if dropout < 1 else "every weight is set to 0"
        said.append(f"In train mode with dropout {dropout:g} {rule}, so rows do not sum to 1.")
    if found.nan_rows:
        rows = "row is" if found.nan_rows == 1 else "rows are"
        said.append(f"{found.nan_rows} {rows} NaN on one side or both and left out of the mean.")
    if different_tokens(found):
        said.append("The tokens are not the same on both sides: cells are compared by their place.")
    return said


def _moved(found: Comparison) -> str:
    if found.left.record.dropout or found.right.record.dropout:  # rows do not sum to 1
        return f"half the sum of a row's changes is {found.variation:.3g} on average"
    return f"on average {found.variation:.1%} of a query's attention goes elsewhere"


def different_tokens(found: Comparison) -> bool:
    """Say whether the two sides have other tokens."""
    left, right = found.left, found.right
    return left.query_tokens != right.query_tokens or left.key_tokens != right.key_tokens


def rows(found: Comparison, moved: Sequence[Moved]) -> dict[str, list[str | int | float]]:
    """Return cells as the columns of a table."""
    return {
        "query": [_token(found, "query_tokens", m.query) for m in moved],
        "key": [_token(found, "key_tokens", m.key) for m in moved],
        "left": [m.left for m in moved],
        "right": [m.right for m in moved],
        "change": [m.change for m in moved],
    }


def cell(found: Comparison, query: int, key: int) -> str:
    """Say what one cell is on both sides."""
    left, right = (float(side.weights[query, key]) for side in (found.left, found.right))
    sides = [f"left {_weight(found.left, query, key, left)}", f"right {_weight(found.right, query, key, right)}"]
    change = "" if math.isnan(right - left) else f" · change {_signed(right - left)}"
    return f"{', '.join(sides)}{change}"


def place(found: Comparison, query: int, key: int) -> str:
    """Name one cell."""
    return f"query {_token(found, 'query_tokens', query)}, key {_token(found, 'key_tokens', key)}"


def _token(found: Comparison, whose: str, index: int) -> str:
    left, right = (getattr(side, whose)[index] for side in (found.left, found.right))
    if left == right == str(index):
        return str(index)
    return f"{index} “{left}”" if left == right else f"{index} “{left}” / “{right}”"


def _weight(side: Selected, query: int, key: int, weight: float) -> str:
    number = "NaN" if math.isnan(weight) else f"{weight:.4g}"
    return number if bool(side.allowed[query, key]) else f"{number} (masked)"


def _signed(change: float) -> str:
    return f"{change:+.4g}".replace("-", "−")
