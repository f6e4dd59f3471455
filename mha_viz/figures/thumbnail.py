"""Weights as small pictures: a run in a glance, by its average weights, and any weights by the grammar's colours."""

from __future__ import annotations

import base64
import io
import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mha_viz.attention.runs import Run
from mha_viz.figures import grammar, states
from mha_viz.figures.grammar import Codes, Floats

Pixels = NDArray[np.uint8]


def thumbnail(run: Run, *, size: int = 160, item: int = 0) -> Pixels:
    """Return the average over heads as an RGB picture, uint8 [height, width, 3], at least `size` pixels wide or high.

    Cells are whole pixels wide, so that none is lost; masked, NaN and violated cells have the grammar's colours.
    """
    weights = run.layers[0].average[item].float().cpu().numpy()  # [L, S]
    pixels = painted(weights, states.of_average(run.layers[0], item))
    cell = -(-size // max(weights.shape))
    return pixels.repeat(cell, axis=0).repeat(cell, axis=1)


def painted(weights: Floats, codes: Codes | None) -> Pixels:
    """Return weights [L, S] as a picture [L, S, 3], one pixel a cell, from 0 to the largest of them.

    Args:
        weights: Of one head, or an average.
        codes: What is masked, NaN or violated, as `states` has it; None for nothing.
    """
    finite = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(finite.max(initial=0.0)) or 1.0
    pixels = _colours()[(finite.clip(0.0) / top * 255).astype(np.uint8)]
    if codes is not None:
        for code in range(grammar.MASKED, grammar.VIOLATION + 1):
            pixels[codes == code] = _rgb(grammar.STATE_COLOURS[code])
    return pixels


def data_url(pixels: Pixels) -> str:
    """Return a picture as a PNG inside a URL, which a page shows without asking the server for a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@cache
def _colours() -> Pixels:
    stops = [edge for edge, _ in grammar.WEIGHT_COLOURS]
    parts = np.array([_rgb(colour) for _, colour in grammar.WEIGHT_COLOURS])
    places = np.linspace(0, 1, 256)
    return np.stack([np.interp(places, stops, parts[:, c]) for c in range(3)], axis=1).astype(np.uint8)


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]
