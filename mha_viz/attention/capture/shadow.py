"""A module's `forward` shadowed by an attribute of the instance, and put back.

Not a hook: a hook anywhere in an `nn.TransformerEncoderLayer` closes its fast path, which changes what it computes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import MethodType
from typing import Any, Protocol

from torch import nn


class Listener(Protocol):
    """Is told of a call, runs it and returns its result."""

    def called(self, shadow: Shadow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `shadow.original` for the caller."""


class Shadow:
    """What stands in a module's place for `forward`.

    Attributes:
        module: Whose forward it is.
        original: What was called before, which may be the shadow of another capture.
    """

    def __init__(self, module: nn.Module, listener: Listener) -> None:
        self.module = module
        self.original: Callable[..., Any] = module.forward
        self._owned = "forward" in vars(module)
        self._listener = listener
        functools.update_wrapper(self, self.original, updated=())  # a model that looks at its own signature finds it

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module's forward."""
        return self._listener.called(self, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return the forward of the copied module, which is not captured."""
        copied = memo.get(id(self.module), self.module)
        return MethodType(type(copied).forward, copied)

    @property
    def untouched(self) -> bool:
        """Whether the module runs the forward of its class, apart from captures."""
        below = self.original
        while isinstance(below, Shadow):
            below = below.original
        return getattr(below, "__func__", None) is type(self.module).forward

    def install(self) -> None:
        """Put the shadow in its place; not through `setattr`, which a module may have made its own."""
        vars(self.module)["forward"] = self

    def remove(self) -> None:
        """Put back what was there, also from under the shadow of a capture that began later."""
        above: Any = vars(self.module).get("forward")
        if above is not self:
            while isinstance(above, Shadow) and above.original is not self:
                above = above.original
            if isinstance(above, Shadow):
                above.original, above._owned = self.original, self._owned
        elif self._owned:
            vars(self.module)["forward"] = self.original
        else:
            del vars(self.module)["forward"]
