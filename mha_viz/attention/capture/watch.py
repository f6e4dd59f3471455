"""Seeing function calls: a mode of this thread that torch asks before it runs any function.

It sees names that were imported early, and needs no patch. While one is active torch closes its fast paths, so it is
taken off the stack wherever torch's own attention modules run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import overrides
from torch.overrides import TorchFunctionMode

# Runs a function for its caller, and reads what can be read off the call.
Reader = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Watch(TorchFunctionMode):
    """Hands the calls of some functions to a reader."""

    def __init__(self, readers: Mapping[Callable[..., Any], Reader]) -> None:
        TorchFunctionMode.__init__(self)
        self._readers = readers

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # What is being compiled must not hold the reading of it.
        reader = None if torch.compiler.is_compiling() else self._readers.get(func)
        return func(*args, **(kwargs or {})) if reader is None else reader(func, args, kwargs or {})


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Have a watch active within the block, once."""
    if any(mode is watch for mode in overrides._get_current_function_mode_stack()):
        yield
        return
    with watch:
        yield


@contextmanager
def unwatched() -> Iterator[None]:
    """Have no watch active within the block, whichever capture it belongs to; modes of others stay."""
    before = overrides._get_current_function_mode_stack()
    others = [mode for mode in before if not isinstance(mode, Watch)]
    if len(others) == len(before):
        yield
        return
    _exchange(others)
    try:
        yield
    finally:
        _exchange(before)


def _exchange(modes: list[TorchFunctionMode]) -> None:
    for _ in overrides._get_current_function_mode_stack():
        overrides._pop_mode()
    for mode in modes:
        overrides._push_mode(mode)
