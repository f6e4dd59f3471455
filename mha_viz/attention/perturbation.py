"""What an input token is replaced with: other vectors, or other token ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mha_viz.errors import InputError

# Times the input's own spread. Near ones show what a saturated softmax hides, far ones what a nearly flat one does.
STRENGTHS = (1.0, 8.0)


def replacements(own: Tensor, draws: int, generator: torch.Generator, vocabulary: int | Sequence[int] | None) -> Tensor:
    """Return [draws, *own.shape]: for each token something else in its place, the same for the same seed.

    Args:
        own: Vectors [N, L, ...], or token ids [N, L].
        draws: How many replacements each token gets.
        generator: A seeded generator on the CPU.
        vocabulary: For token ids, how many there are or which may be used; None takes those that occur in `own`.

    Raises:
        InputError: The dtype can't be perturbed, or there are fewer than two ids to choose from.
    """
    if own.is_floating_point():
        return _other_vectors(own, draws, generator)
    if own.dtype != torch.bool and not own.is_complex():
        return _other_ids(own, draws, generator, vocabulary)
    raise InputError(f"x must hold vectors (a floating type) or token ids (an integer type), not {own.dtype}.")


def _other_vectors(own: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    finite = own.detach().nan_to_num(0, 0, 0).double()
    spread = float(finite.std(correction=0)) or float(finite.abs().max()) or 1.0
    noise = torch.randn(draws, *own.shape, generator=generator, dtype=torch.float64)
    strengths = torch.tensor([STRENGTHS[draw % len(STRENGTHS)] for draw in range(draws)], dtype=torch.float64)
    noise *= spread * strengths.reshape(-1, *[1] * own.dim())
    return (finite + noise.to(own.device)).to(own.dtype)


def _other_ids(own: Tensor, draws: int, generator: torch.Generator, vocabulary: int | Sequence[int] | None) -> Tensor:
    if isinstance(vocabulary, int):
        known = torch.arange(vocabulary)
    elif vocabulary is not None:
        known = torch.tensor(list(vocabulary), dtype=torch.int64)
    else:
        known = own.cpu()
    ids = known.unique()
    if ids.numel() < 2:
        raise InputError(
            f"Token ids are replaced by others, so there must be at least two, but there are {ids.tolist()}: "
            "give vocabulary=<number of ids>, or which ids may be used."
        )
    # A shift of 1 to len - 1 places in the sorted ids never comes back to the same one.
    place = torch.searchsorted(ids, own.cpu()).clamp_max(ids.numel() - 1)
    shift = torch.randint(1, ids.numel(), (draws, *own.shape), generator=generator)
    return _avoiding(ids, place + shift, own.cpu()).to(device=own.device, dtype=own.dtype)


def _avoiding(ids: Tensor, place: Tensor, own: Tensor) -> Tensor:
    """Return the ids at these places (counted around), or the next one where that is the token's own."""
    count = ids.numel()
    chosen = ids[place % count]
    return torch.where(chosen == own, ids[(place + 1) % count], chosen)
