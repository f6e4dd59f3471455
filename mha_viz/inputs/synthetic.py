"""Made-up inputs: pure functions of a seeded generator, one for each kind of picture.

Every function here stands alone: it needs `torch`, `math` and the functions beside it, nothing else. An exported script
holds its source as it is written here (`inspect.getsource`), so keep constants, imports and decorators out of it.
To add a source, write the function and one row of `SOURCES`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from mha_viz.errors import InputError


def normal(batch_size: int, length: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Draw every number from the normal distribution N(0, 1), [N, length, dim]."""
    return torch.randn(batch_size, length, dim, generator=generator, dtype=torch.float32)


def uniform(batch_size: int, length: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Draw every number evenly from 0 (included) to 1 (excluded), [N, length, dim]."""
    return torch.rand(batch_size, length, dim, generator=generator, dtype=torch.float32)


def one_hot(batch_size: int, length: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Give position i the unit vector with its 1 in column i mod dim, [N, length, dim]."""
    rows = torch.eye(dim, dtype=torch.float32)[torch.arange(length) % dim]
    return rows.repeat(batch_size, 1, 1)


def sinusoidal(length: int, dim: int) -> torch.Tensor:
    """Return the positions of Vaswani et al. 2017, section 3.5, [length, dim], sines and cosines in turn."""
    position = torch.arange(length, dtype=torch.float64)[:, None]
    rate = torch.exp(torch.arange(0, dim, 2, dtype=torch.float64) * (-math.log(10000.0) / dim))
    table = torch.zeros(length, dim, dtype=torch.float64)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate[: dim // 2])
    return table.to(torch.float32)


def positional(batch_size: int, length: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Give every position its sine and cosine code and no content, [N, length, dim]."""
    return sinusoidal(length, dim).repeat(batch_size, 1, 1)


def repeated(batch_size: int, length: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Repeat four random tokens, A B C D A B C D ..., [N, length, dim]: equal letters are equal rows."""
    motif = torch.randn(batch_size, 4, dim, generator=generator, dtype=torch.float32)
    return motif[:, torch.arange(length) % 4]


def clusters(batch_size: int, length: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """Draw three runs of tokens, each near a centre of its own, [N, length, dim]."""
    centres = torch.randn(batch_size, 3, dim, generator=generator, dtype=torch.float32)
    noise = torch.randn(batch_size, length, dim, generator=generator, dtype=torch.float32)
    return centres[:, torch.arange(length) * 3 // length] + 0.2 * noise


def _numbers(length: int) -> list[str]:
    return [str(position) for position in range(length)]


def _letters(length: int) -> list[str]:
    return ["ABCD"[position % 4] for position in range(length)]


def _runs(length: int) -> list[str]:
    runs = [position * 3 // length for position in range(length)]
    return [f"{'abc'[run]}{position - runs.index(run) + 1}" for position, run in enumerate(runs)]


@dataclass(frozen=True)
class Source:
    """One way to make inputs.

    Attributes:
        name: The key in `SOURCES`, in links and in scripts.
        function: `f(batch_size, length, dim, generator)` -> float32 CPU tensor [N, length, dim].
        summary: A few words for a menu.
        help: One sentence on what the picture shows.
        label: Default token labels for a length.
    """

    name: str
    function: Callable[[int, int, int, torch.Generator], torch.Tensor]
    summary: str
    help: str
    label: Callable[[int], list[str]] = _numbers


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "normal",
            normal,
            "Normal random numbers",
            "Every number is drawn from N(0, 1): no structure, so an untrained layer attends nearly evenly.",
        ),
        Source(
            "uniform",
            uniform,
            "Uniform random numbers",
            "Every number is drawn evenly from 0 to 1: all tokens point the same way, so rows look alike.",
        ),
        Source(
            "one_hot",
            one_hot,
            "One-hot tokens",
            "Position i is the unit vector i mod embed_dim: the scores are single entries of the layer's own matrices.",
        ),
        Source(
            "positional",
            positional,
            "Positions only",
            "Each token is its sine and cosine position code: stripes along the diagonals show relative position.",
        ),
        Source(
            "repeated",
            repeated,
            "Repeated tokens A B C D",
            "Four random tokens repeat: equal tokens get equal weights, so the picture repeats every four cells.",
            label=_letters,
        ),
        Source(
            "clusters",
            clusters,
            "Three clusters",
            "Three runs of similar tokens: tokens of one run get similar weights, so blocks show.",
            label=_runs,
        ),
    )
}
"""Every source by name, in the order of menus."""


def source(name: str) -> Source:
    """Return the source called `name`.

    Raises:
        InputError: There is no such source; the message lists the known ones and the nearest.
    """
    if name in SOURCES:
        return SOURCES[name]
    nearest = difflib.get_close_matches(name, SOURCES, n=1)
    hint = f": did you mean {nearest[0]!r}?" if nearest else "."
    raise InputError(f"source must be one of {', '.join(SOURCES)}, not {name[:60]!r}{hint}", field="source")


def labels(name: str, length: int) -> list[str]:
    """Return the default token labels of a source, one for each of `length` positions.

    Raises:
        InputError: There is no source called `name`.
    """
    return source(name).label(length)
