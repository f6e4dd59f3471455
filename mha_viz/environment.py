"""Limits that whoever runs the program sets as environment variables; the README's table names them all."""

from __future__ import annotations

import os

from mha_viz.errors import MhaVizError


def number(variable: str, default: float, *, low: float, high: float) -> float:
    """Return the number that an environment variable holds, or the default where it is unset or empty.

    Raises:
        MhaVizError: It holds no number, or one below `low` or above `high`.
    """
    text = os.environ.get(variable, "").strip()
    try:
        found = float(text) if text else float(default)
    except ValueError:
        found = float("nan")
    if not low <= found <= high:
        raise MhaVizError(f"{variable} must be a number from {low:,g} to {high:,g}, not {text[:60]!r}.")
    return found


def cores() -> int:
    """Return the number of cores that this process may use (containers often allow fewer than there are)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1
