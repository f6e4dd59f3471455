"""The calls that are under way, outermost first."""

from __future__ import annotations

import inspect
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from mha_viz.attention.records import Passed


@dataclass(eq=False)
class Frame:
    """One call of a module.

    Attributes:
        name: Of the module.
        module: Itself.
        masks: The masks for self-attention as the user passed them, where torch's encoder or its layer was called.
        length: L of an encoder's input, which the layers inside do not see of nested tensors.
        called: Ids of the modules that it called.
    """

    name: str
    module: nn.Module
    masks: Passed | None = None
    length: int | None = None
    called: set[int] = field(default_factory=set)


def given(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method by name, defaults included.

    Raises:
        TypeError: They do not fit its signature.
    """
    bound = inspect.signature(function).bind(None, *args, **kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def of_encoder(frame: Frame, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Note what torch's encoder or its layer was given, unless that is known from further out."""
    attention = {nn.TransformerEncoder: "mask", nn.TransformerEncoderLayer: "src_mask"}
    kind: Any = next((kind for kind in attention if isinstance(frame.module, kind)), None)
    if kind is None or frame.masks is not None:
        return
    with suppress(TypeError, KeyError):  # which the call itself will raise, or its class has arguments of its own
        arguments = given(kind.forward, args, kwargs)
        src: Tensor = arguments["src"]
        if not src.is_nested and src.dim() == 3:
            frame.length = src.shape[1]
        padding, hint = arguments["src_key_padding_mask"], arguments["is_causal"] is True
        frame.masks = Passed("mha", arguments[attention[kind]], padding, hint)
