"""One measurement of the comparison: who, how long a sequence, how long it took, and what it held."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Record:
    """Medians, or why there are none.

    Attributes:
        name: Who was measured.
        length: Tokens, L = S.
        change: Seconds from a change to its painted picture; for a notebook's library the call and its page.
        opening: Seconds from the start of the navigation to the first painted picture.
        python_bytes: The most that the Python process held, all of it.
        page_bytes: The most that the browser's process for the page held.
        stopped: Why it was given up; the numbers are then those from before, or zero.
    """

    name: str
    length: int
    change: float = 0.0
    opening: float = 0.0
    python_bytes: int = 0
    page_bytes: int = 0
    stopped: str = ""
