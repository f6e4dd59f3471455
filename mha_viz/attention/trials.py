"""A call and its perturbed copies, run many at once: the mechanics behind `reach`.

Every trial is compared slot by slot with an unperturbed call of the same shape. Equal arithmetic gives equal bits, so
an output that does not depend on the perturbed input changes by exactly 0, and no tolerance is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.attention.experiment import Experiment
from mha_viz.attention.layer import seeded
from mha_viz.errors import InputError

# What one forward of trials may hold: score cells (N * L * L for each copy) and tokens (N * L for each copy).
CELLS_AT_ONCE = 2**20
TOKENS_AT_ONCE = 2**12


@dataclass(frozen=True, eq=False)
class Trial:
    """One perturbed copy: which replacement, and at which tokens (bool [N, L])."""

    draw: int
    where: Tensor


def position_changes(experiment: Experiment, copies: int | None) -> Tensor:
    """Return [N, L_out, L_in]: how much each output changes when one input position is replaced in every item."""
    n, length = experiment.sizes
    position = torch.arange(length)
    trials = [Trial(draw, (position == j).expand(n, length)) for draw in range(experiment.draws) for j in range(length)]
    with _buffers_kept(experiment.call.function):
        changes = _changes(experiment, trials, copies)  # [draws * L_in, N, L_out]
    largest: Tensor = changes.unflatten(0, (experiment.draws, length)).amax(0)  # [L_in, N, L_out]
    return largest.permute(1, 2, 0)


def item_changes(experiment: Experiment) -> Tensor:
    """Return [N, N]: how much the output of each item (row) changes when all of another item (column) is replaced.

    The forwards have the batch size that was given, because the question is what this batch does.
    """
    n, length = experiment.sizes
    item = torch.arange(n)[:, None]
    trials = [Trial(draw, (item == m).expand(n, length)) for draw in range(experiment.draws) for m in range(n)]
    with _buffers_kept(experiment.call.function):
        baseline = _steady(experiment)
        changes = torch.cat([_change(_run(experiment, [trial], batched=False), baseline) for trial in trials])
    largest: Tensor = changes.amax(2).unflatten(0, (experiment.draws, n)).amax(0)  # row: replaced, column: changed
    return largest.T


def _changes(experiment: Experiment, trials: Sequence[Trial], copies: int | None) -> Tensor:
    alone = _steady(experiment)
    size = min(len(trials), copies or _copies(experiment, alone.shape[2]))
    if size < 2 or not _batches(experiment, alone):
        return torch.cat([_change(_run(experiment, [trial], batched=False), alone) for trial in trials])
    unperturbed = Trial(0, torch.zeros(experiment.sizes, dtype=torch.bool))
    baseline = _run(experiment, [unperturbed] * size, batched=True)
    found = []
    for start in range(0, len(trials), size):
        chunk = trials[start : start + size]
        # Filled up to the baseline's shape, so that the arithmetic is the same.
        filled = [*chunk, *[unperturbed] * (size - len(chunk))]
        found.append(_change(_run(experiment, filled, batched=True), baseline)[: len(chunk)])
    return torch.cat(found)


def _copies(experiment: Experiment, outputs: int) -> int:
    n, length = experiment.sizes
    longest = max(length, outputs)
    return max(1, min(CELLS_AT_ONCE // (n * longest * longest), TOKENS_AT_ONCE // (n * longest)))


def _steady(experiment: Experiment) -> Tensor:
    """Return the output of the call as given, [1, N, L_out, F], having checked that it repeats."""
    unperturbed = Trial(0, torch.zeros(experiment.sizes, dtype=torch.bool))
    first, second = (_run(experiment, [unperturbed], batched=False) for _ in range(2))
    if _change(first, second).any():
        raise InputError(
            "The function must give the same output for the same input, but two equal calls differed: "
            "it keeps a state, or draws random numbers that torch's seed does not set."
        )
    return first


def _batches(experiment: Experiment, alone: Tensor) -> bool:
    """Say whether copies may share a batch: each gives the call's own output, and none sees another."""
    nothing, everything = (
        torch.zeros(experiment.sizes, dtype=torch.bool),
        torch.ones(experiment.sizes, dtype=torch.bool),
    )
    try:
        pair = _run(experiment, [Trial(0, nothing)] * 2, batched=True)
        shaken = [
            _run(experiment, [Trial(0, everything if copy == moved else nothing) for copy in range(2)], batched=True)
            for moved in range(2)
        ]
    except Exception:
        # Whatever the function has against a larger batch (a mask made for its own size, say), its own size works.
        return False
    if pair.shape != (2, *alone.shape[1:]):
        return False
    scale = max(1.0, float(alone.nan_to_num(0, 0, 0).abs().max()))
    tolerance = min(0.05, 1_000 * torch.finfo(alone.dtype).eps) * scale
    same = torch.allclose(pair, alone.expand_as(pair), rtol=0, atol=tolerance, equal_nan=True)
    return same and not any(_change(shaken[moved], pair)[1 - moved].any() for moved in range(2))


def _run(experiment: Experiment, trials: Sequence[Trial], *, batched: bool) -> Tensor:
    """Return the outputs [T, N, L_out, F] of T trials: in one batch, or (T = 1) with everything shaped as given."""
    layout, values = experiment.layout, list(experiment.call.values)
    times = len(trials)
    for slots, own, moved in zip(experiment.groups, experiment.own, experiment.moved, strict=True):
        copies = own.expand(times, *own.shape).clone()  # [T, N, L, ...]
        for copy, trial in zip(copies, trials, strict=True):
            where = trial.where.to(own.device)
            copy[where] = moved[trial.draw][where]
        placed = layout.placed(copies.flatten(0, 1), as_given=not batched)
        for slot, tensor in _as_shared(placed, slots, experiment.call.values):
            values[slot] = tensor
    if batched:
        kept = {slot for slots in experiment.groups for slot in slots}
        values = layout.repeated(experiment.call.names, values, times, experiment.sizes, kept)
    device = str(experiment.own[0].device)
    with seeded(experiment.seed, device):
        output = experiment.call(values).detach()
    return _as_trials(layout.found(output, as_given=not batched), times, experiment.sizes[0], output)


def _as_shared(placed: Tensor, slots: Sequence[int], given: Sequence[Any]) -> Iterator[tuple[int, Tensor]]:
    """Yield one object for the slots that held one object: torch takes another path for equal but separate ones."""
    placed.requires_grad_(given[slots[0]].requires_grad)
    made: dict[int, Tensor] = {}
    for slot in slots:
        if id(given[slot]) not in made:
            made[id(given[slot])] = placed.view_as(placed) if made else placed
        yield slot, made[id(given[slot])]


def _as_trials(found: Tensor, times: int, items: int, output: Tensor) -> Tensor:
    if found.dim() < 2 or len(found) != times * items:
        shape = list(output.shape)
        raise InputError(
            f"The output must have the batch and the tokens of the input, N = {items} first or second as "
            f"batch_first says, but its shape is {shape}."
        )
    exact = found if found.dtype == torch.float64 else found.float() if found.is_floating_point() else found.double()
    return exact.reshape(times, items, found.shape[1], -1)


def _change(output: Tensor, baseline: Tensor) -> Tensor:
    """Return [T, N, L_out] on the CPU: the largest difference in a token's vector; a NaN that comes or goes is inf."""
    same = (output == baseline) | (output.isnan() & baseline.isnan())
    difference = (output - baseline).abs().nan_to_num(nan=torch.inf).masked_fill(same, 0.0)
    return difference.amax(-1).cpu()


@contextmanager
def _buffers_kept(function: Any) -> Iterator[None]:
    """Put the buffers of a module (such as the running means of a BatchNorm in train mode) back afterwards."""
    buffers = list(function.buffers()) if isinstance(function, nn.Module) else []
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
