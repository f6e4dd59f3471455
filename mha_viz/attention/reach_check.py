"""A reach against what is allowed, and the sentences that say where they differ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz import masks
from mha_viz.attention.experiment import Experiment
from mha_viz.errors import InputError
from mha_viz.inputs.assemble import build, sizes
from mha_viz.masks import Mask, encode
from mha_viz.scenario import Scenario

NAMED = 10  # how many pairs a message spells out


@dataclass(frozen=True, eq=False)
class Comparison:
    """What an output depends on, against what it may depend on; bool, shaped as the reach it was made from.

    Attributes:
        leaks: Output i depends on input j, which is not allowed.
        absent: Output i could depend on input j, but does not.
    """

    leaks: Tensor
    absent: Tensor


def compare_reach(
    found: Tensor, allowed: str | Mask | Tensor, *, own: bool = False, tolerance: float = 0.0
) -> Comparison:
    """Compare a reach with what is allowed.

    Args:
        found: What `reach` returned, [L_out, L_in] or [N, L_out, L_in].
        allowed: A mask or its text, or a bool tensor that broadcasts to `found`, True where output i may depend on
            input j. For a stack of layers it is what the whole stack may see.
        own: An output may also depend on the input of its own position, though it need not: so it is in
            self-attention, through the query, and wherever there is a residual connection.
        tolerance: Changes up to this size count as none.

    Raises:
        InputError: A tensor is not bool, or does not fit the reach.
        MaskError: The text cannot be read.
    """
    may = _allowed(allowed, found)
    depends = found > tolerance
    forbidden = ~may & ~torch.eye(*found.shape[-2:], dtype=torch.bool) if own else ~may
    return Comparison(depends & forbidden, ~depends & may)


def allowed_by(s: Scenario) -> Tensor:
    """Return what a Scenario's mask and padding allow in any head, [N, L, S]."""
    size = sizes(s)
    may = masks.mask(s.mask).allowed(
        size.query_len, size.key_len, batch_size=size.batch_size, num_heads=s.num_heads, device="cpu"
    )
    may = may.expand(size.batch_size, s.num_heads, size.query_len, size.key_len).any(1)
    lengths = build(s).key_lengths
    if lengths is None:
        return may
    return may & encode.allowed_from_padding(encode.key_padding_mask(lengths, size.key_len))[:, 0]


def _allowed(allowed: str | Mask | Tensor, found: Tensor) -> Tensor:
    if isinstance(allowed, Tensor):
        return _fitting(allowed, found)
    *items, outputs, inputs = found.shape
    mask = masks.mask(allowed)
    if mask.variables & {"h", "H"}:
        raise InputError(f"allowed must not mention heads, which a reach does not tell apart, but it is '{mask}'.")
    if mask.variables & {"b", "N"} and not items:
        raise InputError(
            f"allowed may mention batch items only for a reach made with per_item=True, but it is '{mask}'."
        )
    may = mask.allowed(outputs, inputs, batch_size=items[0] if items else 1)
    return (may[:, 0] if may.dim() == 4 else may).expand_as(found)


def _fitting(allowed: Tensor, found: Tensor) -> Tensor:
    if allowed.dtype != torch.bool:
        raise InputError(f"allowed must be bool, True where an output may depend on an input, not {allowed.dtype}.")
    may = allowed.cpu()
    own_shape = may.shape[-2:] == found.shape[-2:] and (may.dim() == 2 or may.shape == found.shape)
    if not own_shape:
        raise InputError(f"allowed must have the shape {list(found.shape)} of the reach, not {list(allowed.shape)}.")
    return may.expand_as(found)


def leaks(wrong: Tensor, found: Tensor) -> list[str]:
    """Return the lines that name the leaking pairs of a reach [N, L_out, L_in]; none if nothing leaks."""
    pairs = wrong.nonzero().tolist()
    if not pairs:
        return []
    lines = [
        f"Output {i}{_of_item(n, found)} must not depend on input {j}, but changes by {found[n, i, j]:.3g} with it."
        for n, i, j in pairs[:NAMED]
    ]
    verb = "leaks" if len(pairs) == 1 else "leak"
    return [f"{_counted(len(pairs))} (output, input) {verb}:", *lines, *_rest(len(pairs))]


def absences(absent: Tensor) -> list[str]:
    """Return the lines that name the allowed pairs of [N, L_out, L_in] that are absent."""
    pairs = absent.nonzero().tolist()
    if not pairs:
        return []
    lines = [f"Output {i}{_of_item(n, absent)} may depend on input {j}, but does not." for n, i, j in pairs[:NAMED]]
    verb = "is" if len(pairs) == 1 else "are"
    return [f"{_counted(len(pairs))} (output, input) that {verb} allowed {verb} absent:", *lines, *_rest(len(pairs))]


def between_items(across: Tensor, tolerance: float) -> list[str]:
    """Return the lines that name which items of a batch see each other, from their [N, N] changes."""
    pairs = (across.fill_diagonal_(0.0) > tolerance).nonzero().tolist()
    if not pairs:
        return []
    lines = [
        f"The output of item {n} changes by {across[n, m]:.3g} with the input of item {m}." for n, m in pairs[:NAMED]
    ]
    return [f"{_counted(len(pairs))} of batch items see each other: is batch_first right?", *lines, *_rest(len(pairs))]


def _counted(pairs: int) -> str:
    return "1 pair" if pairs == 1 else f"{pairs:,} pairs"


def _rest(pairs: int) -> list[str]:
    return [f"And {pairs - NAMED:,} more."] if pairs > NAMED else []


def _of_item(n: int, found: Tensor) -> str:
    return f" of item {n}" if len(found) > 1 else ""


def reading(experiment: Experiment) -> list[str]:
    """Return a line that says how the input was read, where that may surprise."""
    if experiment.layout.batch_first or not experiment.layout.batched:
        return []
    n, length = experiment.sizes
    return [f"The input was read as [L, N, ...] with L = {length} and N = {n}, because batch_first is False."]
