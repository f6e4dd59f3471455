"""Limits that whoever runs the program sets as environment variables; the README's table names them all."""

from __future__ import annotations

import math
import os
from pathlib import Path

from mha_viz.errors import MhaVizError

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Where Linux tells a container how much processor time it has: microseconds, or `max`, and in how many."""


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
    """Return the number of cores that this process may use: containers often allow fewer than there are, or less time.

    Whoever computes on more cores than the time is for stands still, all threads at once, until there is more.
    """
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        allowed = os.cpu_count() or 1
    return int(min(allowed, _quota()))


def _quota() -> float:
    """Return how many cores the container's processor time is as much as, rounded up."""
    try:
        time, period = QUOTA.read_text(encoding="ascii").split()
    except OSError:  # no container, or one that does not tell
        return math.inf
    return math.inf if time == "max" else math.ceil(int(time) / int(period))
