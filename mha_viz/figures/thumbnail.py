"""A run in a glance: its average weights as a small picture."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mha_viz.attention.records import Run
from mha_viz.figures import grammar, states

Pixels = NDArray[np.uint8]


def thumbnail(run: Run, *, size: int = 160, item: int = 0) -> Pixels:
    """Return the average over heads as an RGB picture, uint8 [height, width, 3], at least `size` pixels wide or high.

    Cells are whole pixels wide, so that none is lost; masked, NaN and violated cells have the grammar's colours.
    """
    weights = run.layers[0].average[item].float().cpu().numpy()  # [L, S]
    top = float(np.nanmax(weights, initial=0.0)) or 1.0
    pixels = _colours()[np.nan_to_num(weights / top * 255, nan=0.0).astype(np.uint8)]  # [L, S, 3]
    codes = states.of_average(run.layers[0], item)
    if codes is not None:
        for code in range(grammar.MASKED, grammar.VIOLATION + 1):
            pixels[codes == code] = _rgb(grammar.STATE_COLOURS[code])
    cell = -(-size // max(weights.shape))
    return pixels.repeat(cell, axis=0).repeat(cell, axis=1)


def data_url(pixels: Pixels) -> str:
    """Return a picture as a PNG inside a URL, which a page shows without asking the server for a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _colours() -> Pixels:
    stops = [edge for edge, _ in grammar.WEIGHT_COLOURS]
    parts = np.array([_rgb(colour) for _, colour in grammar.WEIGHT_COLOURS])
    places = np.linspace(0, 1, 256)
    return np.stack([np.interp(places, stops, parts[:, c]) for c in range(3)], axis=1).astype(np.uint8)


def _rgb(colour: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", colour)[:3]]
