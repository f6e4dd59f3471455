"""Which part of the weights somebody asks for: indices, slices and sizes of overviews, checked."""

from __future__ import annotations

from mha_viz.errors import ScenarioError

SMALLEST, LARGEST = 64, 4_096  # sides of an overview
POOLS = ("max", "mean")


def check_index(name: str, index: int, end: int) -> None:
    """Raise `ScenarioError` unless the index is from 0 to below the end."""
    if not 0 <= index < end:
        raise ScenarioError(f"{name} must be from 0 to {end - 1}, not {index}.", field=name)


def check_size(size: int) -> None:
    """Raise `ScenarioError` unless an overview may have this many rows and columns."""
    if not SMALLEST <= size <= LARGEST:
        raise ScenarioError(f"size of an overview must be from {SMALLEST} to {LARGEST:,}, not {size}.")


def check_pool(pool: str) -> None:
    """Raise `ScenarioError` unless blocks can be pooled so."""
    if pool not in POOLS:
        raise ScenarioError(f"pool must be 'max' or 'mean', not {pool!r}.")


def resolved(part: slice, length: int) -> slice:
    """Return a slice of neighbouring rows or columns with its ends inside the length.

    Raises:
        ScenarioError: Its step is not 1.
    """
    start, stop, step = part.indices(length)
    if step != 1:
        raise ScenarioError(f"a window takes neighbouring rows and columns, so the step must be 1, not {step}.")
    return slice(start, max(start, stop))
