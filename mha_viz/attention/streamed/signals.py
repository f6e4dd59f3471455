"""What a caller and a long computation say to each other while it runs."""

from __future__ import annotations

from collections.abc import Callable

Stop = Callable[[], bool]  # whether to give up
Progress = Callable[[float], None]  # takes the share that is done


def never() -> bool:
    """Return False: go on to the end."""
    return False


def unheard(share: float) -> None:
    """Take a share of the work that is done, and tell nobody."""
