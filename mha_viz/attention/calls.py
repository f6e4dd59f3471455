"""A call as its user wrote it, and the places of batch and tokens in its tensors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mha_viz.errors import InputError

WITH_ATTENTION = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.TransformerDecoder, nn.TransformerDecoderLayer)


@dataclass(frozen=True, eq=False)
class Call:
    """A function with its arguments in slots: first the positional ones, then the named ones.

    Attributes:
        function: A module or any function whose result is a tensor or holds one.
        names: The name of each slot as the signature has it, or its number where there is none.
        values: The arguments as given.
        positional: How many of them are positional.
    """

    function: Callable[..., Any]
    names: tuple[str, ...]
    values: tuple[Any, ...]
    positional: int

    @classmethod
    def of(cls, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Call:
        """Name the arguments after the function's signature."""
        known = _parameters(function)
        names = [known[i] if i < len(known) else str(i) for i in range(len(args))]
        return cls(function, (*names, *kwargs), (*args, *kwargs.values()), len(args))

    def __call__(self, values: Sequence[Any]) -> Tensor:
        """Call the function with these values in the slots and return the first tensor of the result."""
        named = zip(self.names[self.positional :], values[self.positional :], strict=True)
        result = self.function(*values[: self.positional], **dict(named))
        found = _first_tensor(result)
        if found is None:
            raise InputError(
                f"The function must return a tensor, or a tuple or mapping that holds one, not {result!r:.60}."
            )
        return found

    def slot(self, argument: int | str) -> int:
        """Return the slot of an argument, by its number or its name.

        Raises:
            InputError: There is none, or it holds no tensor.
        """
        slot = argument if isinstance(argument, int) else self.names.index(argument) if argument in self.names else -1
        if not (0 <= slot < len(self.values) and isinstance(self.values[slot], Tensor)):
            tensors = [name for name, value in zip(self.names, self.values, strict=True) if isinstance(value, Tensor)]
            known = ", ".join(tensors) or "none"
            raise InputError(
                f"perturb must name tensors of the call, but {argument!r} is none of them: there are {known}."
            )
        return slot


@dataclass(frozen=True)
class Layout:
    """Where the batch stands.

    Attributes:
        batched: Whether there is a batch dimension: [N, L, ...] rather than [L, ...].
        batch_first: [N, L, ...] rather than [L, N, ...]; without a batch dimension, where copies put one.
    """

    batched: bool
    batch_first: bool

    def canonical(self, tensor: Tensor) -> Tensor:
        """Return an argument as [N, L, ...], with N = 1 where it had no batch dimension."""
        if not self.batched:
            return tensor[None]
        return tensor if self.batch_first else tensor.transpose(0, 1)

    def placed(self, copies: Tensor, *, as_given: bool) -> Tensor:
        """Return [N, L, ...] in the layout of the call, without a batch dimension if `as_given` and there was none."""
        if as_given and not self.batched:
            return copies[0]
        return copies if self.batch_first else copies.transpose(0, 1).contiguous()

    def found(self, output: Tensor, *, as_given: bool) -> Tensor:
        """Return an output in the layout of the call as [N, L_out, ...]."""
        if as_given and not self.batched:
            return output[None]
        return output if self.batch_first or output.dim() < 2 else output.transpose(0, 1)

    def repeated(
        self, names: Sequence[str], values: Sequence[Any], times: int, sizes: tuple[int, int], kept: set[int]
    ) -> list[Any]:
        """Return the arguments with those that have a batch dimension repeated, so that they fit `times` batches.

        Masks of 3 dimensions and more, padding masks, and other tensors whose batch dimension is N are repeated.
        Whether this guess was right is seen from the outputs, which must be those of the call as given.
        """
        made: dict[int, Any] = {}
        for slot, (name, value) in enumerate(zip(names, values, strict=True)):
            if slot not in kept and isinstance(value, Tensor) and id(value) not in made:
                made[id(value)] = self._repeated(name, value, times, sizes)
        return [value if slot in kept else made.get(id(value), value) for slot, value in enumerate(values)]

    def _repeated(self, name: str, value: Tensor, times: int, sizes: tuple[int, int]) -> Tensor:
        items, length = sizes
        mask, shape = "mask" in name, value.shape
        if value.dim() == 0:
            return value
        if mask and value.dim() < 3:
            if value.dim() == 1:
                return value.expand(times, *shape)
            own_rows = "padding" in name or (self.batched and shape[0] == items != length)
            return value.repeat(times, 1) if own_rows else value
        if mask:
            return value.repeat(times, *[1] * (value.dim() - 1))
        if not self.batched:
            return self.placed(value.expand(times, *shape), as_given=False)
        if value.dim() < 2 or self.canonical(value).shape[0] != items:
            return value
        along = 0 if self.batch_first else 1
        return value.repeat(*[times if dim == along else 1 for dim in range(value.dim())])


def batch_first_of(function: Any) -> bool:
    """Return what a module says of itself: its own `batch_first`, or that of the attention in torch's stacks."""
    own = getattr(function, "batch_first", None)
    if isinstance(own, bool):
        return own
    if isinstance(function, WITH_ATTENTION):
        return any(m.batch_first for m in function.modules() if isinstance(m, nn.MultiheadAttention))
    return True


def _parameters(function: Callable[..., Any]) -> list[str]:
    try:
        signature = inspect.signature(function.forward if isinstance(function, nn.Module) else function)
    except (TypeError, ValueError):  # functions written in C have none
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]


def _first_tensor(result: Any) -> Tensor | None:
    if isinstance(result, Tensor):
        return result
    parts = result.values() if isinstance(result, Mapping) else result if isinstance(result, list | tuple) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)
