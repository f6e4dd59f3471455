"""How large a forward may be on this server before it waits for its turn, and before it is streamed."""

from __future__ import annotations

from mha_viz import environment

HEAVY_VARIABLE = "MHA_VIZ_HEAVY_MB"
"""Environment variable: a forward that needs more memory than this is heavy, and waits for its turn."""
HELD_VARIABLE = "MHA_VIZ_HELD_MB"
"""Environment variable: a forward that needs more memory than this is streamed where a page can show it so."""


def heavy_bytes() -> float:
    """Return how much memory a forward may need without being heavy."""
    return environment.number(HEAVY_VARIABLE, 100, low=0, high=2**30) * 2**20


def held_bytes() -> float:
    """Return how much memory a forward may need without being streamed."""
    return environment.number(HELD_VARIABLE, 192, low=0, high=2**30) * 2**20
