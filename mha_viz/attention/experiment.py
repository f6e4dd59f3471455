"""What `reach` perturbs: the call, its layout, and the replacements of each token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mha_viz.attention import memory, stack
from mha_viz.attention.calls import Call, Layout, batch_first_of
from mha_viz.attention.device import resolve
from mha_viz.attention.layer import arguments, shared_module
from mha_viz.attention.perturbation import replacements
from mha_viz.errors import InputError
from mha_viz.inputs.assemble import build, sizes
from mha_viz.scenario import ATTENTION, ENCODER, Scenario

Target = Scenario | Callable[..., Any]
Perturbed = int | str | Sequence[int | str]


@dataclass(frozen=True, eq=False)
class Experiment:
    """A call, which of its arguments are perturbed together, and what they are replaced with.

    Attributes:
        call: The function and its arguments as given.
        layout: Where batch and tokens stand in the arguments and in the output.
        groups: For each distinct perturbed tensor, the slots of the call that hold it or the same numbers.
        own: For each group the tensor as given, [N, L, ...].
        moved: For each group its replacements, [draws, N, L, ...], different from `own` at every token.
        seed: Set before each forward, so that dropout drops the same cells in all of them.
    """

    call: Call
    layout: Layout
    groups: tuple[tuple[int, ...], ...]
    own: tuple[Tensor, ...]
    moved: tuple[Tensor, ...]
    seed: int

    @property
    def sizes(self) -> tuple[int, int]:
        """N and L of the perturbed arguments."""
        return self.own[0].shape[0], self.own[0].shape[1]

    def perturbs(self, name: str) -> bool:
        """Say whether the argument of this name is perturbed."""
        return any(self.call.names[slot] == name for slots in self.groups for slot in slots)

    @property
    def draws(self) -> int:
        """How many replacements there are for each token."""
        return len(self.moved[0])


def experiment(
    target: Target,
    x: Tensor | None,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    perturb: Perturbed | None,
    batch_first: bool | None,
    vocabulary: int | Sequence[int] | None,
    draws: int,
    seed: int,
) -> Experiment:
    """Return the experiment that `reach` is asked for; its arguments are described there.

    Raises:
        InputError: They do not fit each other.
    """
    if draws < 1:
        raise InputError(f"draws must be at least 1, not {draws}.")
    if perturb is not None and not isinstance(perturb, int | str) and not perturb:
        raise InputError("perturb must name at least one argument, but it is empty.")
    if isinstance(target, Scenario):
        if x is not None or args or kwargs:
            raise InputError("A Scenario brings its own inputs and masks, so reach takes no further arguments with it.")
        call, batched, batch_first = _scenario_call(target), not target.unbatched, target.batch_first
        slots = [call.slot(name) for name in _listed(_usual(target) if perturb is None else perturb)]
    else:
        if not isinstance(x, Tensor):
            raise InputError(f"x must be a tensor, not {type(x).__name__}.")
        call = Call.of(target, (x, *args), kwargs)
        slots = [call.slot(name) for name in _listed(0 if perturb is None else perturb)]
        batched = _is_batched(call.values[slots[0]])
        batch_first = batch_first_of(target) if batch_first is None else batch_first
    layout = Layout(batched, batch_first)
    tensors = {_memory(call.values[slot]): call.values[slot] for slot in slots}
    groups = tuple(tuple(i for i, value in enumerate(call.values) if _memory(value) == one) for one in tensors)
    own = tuple(layout.canonical(tensor.detach()) for tensor in tensors.values())
    if len({tensor.shape[:2] for tensor in own}) > 1:
        shapes = " and ".join(str(list(tensor.shape)) for tensor in tensors.values())
        raise InputError(f"Arguments perturbed together must have the same batch and tokens, not {shapes}.")
    generator = torch.Generator().manual_seed(seed)
    moved = tuple(replacements(tensor, draws, generator, vocabulary) for tensor in own)
    return Experiment(call, layout, groups, own, moved, seed)


def _usual(s: Scenario) -> Perturbed:
    """Return what is perturbed by default: what a layer looks at, or what a stack carries on."""
    return {ATTENTION: ("key", "value"), ENCODER: "src"}.get(s.stack, "tgt")


def _scenario_call(s: Scenario) -> Call:
    """Return the module's call as the Scenario has it; as for a run, it is refused where memory would not do."""
    resolve(s.device)
    memory.check(s, sizes(s))
    if s.stack != ATTENTION:
        return Call.of(stack.module(s), (), stack.arguments(s, build(s)))
    returned = {"need_weights": s.need_weights, "average_attn_weights": s.average_attn_weights}
    return Call.of(shared_module(s), (), arguments(s, build(s)) | returned)


def _memory(value: Any) -> tuple[Any, ...] | None:
    """Return what two tensors have in common that are views of the same numbers."""
    return (value.data_ptr(), value.shape, value.stride()) if isinstance(value, Tensor) else None


def _listed(perturb: Perturbed) -> Sequence[int | str]:
    return [perturb] if isinstance(perturb, int | str) else perturb


def _is_batched(tensor: Tensor) -> bool:
    without = 2 if tensor.is_floating_point() else 1  # [L, E] or [L]
    if tensor.dim() < without or 0 in tensor.shape:
        shapes = "[N, L, E] or [L, E]" if without == 2 else "[N, L] or [L]"
        raise InputError(f"A perturbed {tensor.dtype} tensor must be {shapes} and not empty, not {list(tensor.shape)}.")
    return tensor.dim() > without
