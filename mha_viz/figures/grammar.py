"""The visual grammar: what each kind of cell looks like, in every picture.

| cell | drawn as |
|---|---|
| allowed, weight > 0 | the colour scale, from its zero to its largest |
| allowed, weight exactly 0 | the scale's zero |
| masked | neutral grey, hatched; hover says which mask did it |
| NaN | its own colour, with an X |
| masked but weight > 0 | outlined in the warning colour: a violation |

Masked, zero, NaN and violated cells never look alike, and colour is never the only cue.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mha_viz.errors import ScenarioError

Spec = dict[str, Any]
"""A Plotly figure as a plain dict with `data` and `layout`; arrays stay NumPy arrays."""

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

Scale = Literal["shared", "per head", "per row", "log"]
SCALES: tuple[Scale, ...] = get_args(Scale)

PLAIN, MASKED, PADDED, BOTH, NAN, VIOLATION = range(6)
STATE_WORDS = {
    PLAIN: "",
    MASKED: "masked by attn_mask",
    PADDED: "masked by key_padding_mask",
    BOTH: "masked by attn_mask and key_padding_mask",
    NAN: "not a number",
    VIOLATION: "masked, yet its weight is more than 0",
}

# Viridis as rgb(): Streamlit replaces some hex colours inside figures by its theme's.
WEIGHT_COLOURS: list[tuple[float, str]] = [
    (0.0, "rgb(68,1,84)"),
    (0.125, "rgb(71,44,122)"),
    (0.25, "rgb(59,81,139)"),
    (0.375, "rgb(44,113,142)"),
    (0.5, "rgb(33,144,141)"),
    (0.625, "rgb(39,173,129)"),
    (0.75, "rgb(92,200,99)"),
    (0.875, "rgb(170,220,50)"),
    (1.0, "rgb(253,231,37)"),
]
# Blue, near white, red: told apart by every kind of colour vision, and unlike all colours of weights and states.
CHANGE_COLOURS: list[tuple[float, str]] = [
    (0.0, "rgb(5,72,145)"),
    (0.25, "rgb(82,153,202)"),
    (0.45, "rgb(214,231,241)"),
    (0.5, "rgb(247,247,247)"),
    (0.55, "rgb(251,223,207)"),
    (0.75, "rgb(222,113,86)"),
    (1.0, "rgb(150,8,32)"),
]
ALLOWED_COLOUR = "rgb(33,144,141)"
MASKED_COLOUR = "rgb(190,190,190)"
NAN_COLOUR = "rgb(255,79,163)"
WARNING_COLOUR = "rgb(255,74,28)"

STATE_COLOURS = ["rgba(0,0,0,0)", MASKED_COLOUR, MASKED_COLOUR, MASKED_COLOUR, NAN_COLOUR, WARNING_COLOUR]
STATE_COLOURSCALE: list[tuple[float, str]] = [
    (edge / len(STATE_COLOURS), colour) for code, colour in enumerate(STATE_COLOURS) for edge in (code, code + 1)
]

LOG_FLOOR = 1e-6
MAX_LABEL = 24


def label(token: str) -> str:
    """Return a token for an axis: shortened, and escaped because Plotly reads HTML-like tags and links."""
    shown = token if len(token) <= MAX_LABEL else f"{token[: MAX_LABEL - 1]}…"
    return html.escape(shown, quote=False)


def scaled(weights: Floats, scale: Scale) -> tuple[Floats, float, float, dict[str, Any]]:
    """Return what the colours show of weights [P, L, S]: the values, their range, and the colour bar.

    `shared` shows the weights themselves; the others divide by the panel's or the row's largest weight, or take
    log10 with a floor of 1e-6.

    Raises:
        ScenarioError: There is no such scale.
    """
    about = legend([weights], scale)
    if scale == "shared":
        return weights, *about
    if scale == "log":
        return np.log10(np.maximum(weights, np.float32(LOG_FLOOR))), *about
    axes = (1, 2) if scale == "per head" else (2,)
    with np.errstate(all="ignore"):
        top = np.nanmax(np.nan_to_num(weights, nan=0.0), axis=axes, keepdims=True, initial=0.0)
        shares = (weights / np.where(top > 0, top, 1.0)).astype(np.float32, copy=False)
    return shares, *about


def legend(weights: Iterable[Floats], scale: Scale) -> tuple[float, float, dict[str, Any]]:
    """Return what `scaled` says of the values of one or several arrays, without making them: range and colour bar.

    Raises:
        ScenarioError: There is no such scale.
    """
    if scale not in SCALES:
        raise ScenarioError(f"scale must be one of {', '.join(SCALES)}, not {scale!r}.")
    if scale == "shared":
        return 0.0, max(map(_largest, weights), default=0.0) or 1.0, {"title": {"text": "weight"}}
    if scale == "log":
        low = float(np.log10(np.float32(LOG_FLOOR)))
        ticks = list(range(int(low), 1))
        texts = [f"≤ {LOG_FLOOR:g}", *[f"{10.0**t:g}" for t in ticks[1:]]]
        return low, 0.0, {"title": {"text": "weight"}, "tickvals": ticks, "ticktext": texts}
    whose = "head" if scale == "per head" else "row"
    return 0.0, 1.0, {"title": {"text": f"share of<br>the {whose}'s<br>largest"}}


def _largest(weights: Floats) -> float:
    top = float(weights.max(initial=0.0))  # NaN if any number is
    return float(np.nan_to_num(weights, nan=0.0).max(initial=0.0)) if math.isnan(top) else top
