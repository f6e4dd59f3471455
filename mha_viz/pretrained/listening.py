"""Which module of a model made which weights, from what, heard by hooks during one forward."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Heard:
    """One call of a module that returned something of four dimensions, as attention weights are.

    Attributes:
        path: Where the module stands in the model, such as `encoder.layer.0.attention.self`.
        module: The module.
        arguments: What it was called with, by name.
        returned: All that it returned.
    """

    path: str
    module: nn.Module
    arguments: dict[str, Any]
    returned: tuple[Any, ...]


@contextmanager
def listening(model: nn.Module) -> Iterator[list[Heard]]:
    """Collect the calls of a model's modules in the block, in the order in which they ended: an inner one first."""
    heard: list[Heard] = []
    handles = [
        module.register_forward_hook(_hook(path, heard), with_kwargs=True) for path, module in model.named_modules()
    ]
    try:
        yield heard
    finally:
        for handle in handles:
            handle.remove()


def _hook(path: str, heard: list[Heard]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        if isinstance(output, tuple) and any(isinstance(part, Tensor) and part.dim() == 4 for part in output):
            heard.append(Heard(path, module, _named(module, args, kwargs), output))

    return hook


def _named(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(module.forward).bind(*args, **kwargs)
    named = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named |= named.pop(parameter.name, {})
    return named


def maker(heard: list[Heard], weights: Tensor) -> int | None:
    """Return the index of the innermost call that returned these very weights, None if none did."""
    return next((i for i, call in enumerate(heard) if any(part is weights for part in call.returned)), None)
