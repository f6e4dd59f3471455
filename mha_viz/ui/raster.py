"""The numbers of one panel as the browser paints them: a colour index for each cell, its state, its exact value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mha_viz.ui import values
from mha_viz.ui.buffers import Body

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

INLINE_LIMIT = 2**15
"""Bytes of exact values up to which they travel with the figure; more is fetched where somebody points.

A message with no more of them stays below 64 KB, which a browser takes in at one go.
"""

NAN_CODE = 4


@dataclass(frozen=True, eq=False)
class Raster:
    """What is sent of a panel.

    Attributes:
        indices: [L, S], 0 to 255 for where each value lies on the colour scale.
        codes: [L, S], the states of the grammar; None where all cells are plain.
        exact: [L, S], what hover says.
        scaled: Whether colours show something else than `exact`.
    """

    indices: Codes
    codes: Codes | None
    exact: Floats
    scaled: bool


def raster(shown: Floats, exact: Floats | None, codes: Codes | None, low: float, high: float) -> Raster:
    """Return the raster of a panel [L, S] whose colours show `shown` between low and high.

    Args:
        shown: [L, S], what the colours show.
        exact: [L, S], what hover says; None if that is the same.
        codes: [L, S], the states; None if every cell but NaN is plain.
        low: The value of the first colour.
        high: The value of the last one.
    """
    if codes is None and np.isnan(shown).any():
        codes = np.where(np.isnan(shown), np.uint8(NAN_CODE), np.uint8(0))
    plain = codes is None or not codes.any()
    indices = colour_indices(shown, low, high)
    return Raster(indices, None if plain else codes, shown if exact is None else exact, exact is not None)


def colour_indices(z: Floats, low: float, high: float) -> Codes:
    """Return 0 to 255 for where each value of z [L, S] lies between low and high; NaN becomes 0."""
    if not high > low:
        return np.zeros(z.shape, dtype=np.uint8)
    scaled = np.subtract(z, np.float32(low))
    scaled *= np.float32(255 / (high - low))
    scaled += np.float32(0.5)
    np.fmax(scaled, 0, out=scaled)  # fmax and not maximum: it turns NaN into 0
    np.fmin(scaled, 255, out=scaled)
    return scaled.astype(np.uint8)


def wait(rasters: Iterable[Raster | None], limit: int = INLINE_LIMIT) -> bool:
    """Return whether the exact values of these panels are too many bytes to be sent along."""
    exact = {id(found.exact): found.exact.nbytes for found in rasters if found is not None}  # shared arrays count once
    return sum(exact.values()) > limit


def placed(found: Raster, body: Body, later: bool) -> dict[str, Any]:
    """Append a raster to a message and return where it is; its exact values stay on the server if they come later."""
    return {
        "scaled": found.scaled,
        "cells": body.place(found.indices),
        "state": None if found.codes is None else body.place(found.codes),
        "values": values.store.put(found.exact) if later else body.place(found.exact),
    }
