"""The one door to the optional package transformers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mha_viz.errors import InputError


def transformers() -> Any:
    """Return the package transformers, imported when it is first asked for.

    Raises:
        InputError: It is not installed.
    """
    try:
        import transformers
    except ImportError:
        message = "Pretrained models need the package transformers: pip install 'transformers>=5.23,<6'"
        raise InputError(message) from None
    return transformers


@contextmanager
def quietly() -> Iterator[None]:
    """Keep transformers' progress bars and warnings off the terminal for the block; what matters becomes a note."""
    log = transformers().utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
