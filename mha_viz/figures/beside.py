"""Figures of one panel each, put together as one figure whatever their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mha_viz.figures.grammar import Spec

COLUMNS = 3
GAP = 0.42  # of a panel's room: for its colour bar and the labels of the next one


def axis(letter: str, panel: int) -> str:
    """Return Plotly's name of a panel's x or y axis."""
    return f"{letter}{panel + 1}" if panel else letter


def beside(specs: Sequence[Spec]) -> Spec:
    """Return one figure with the panels in lines of `COLUMNS`, each with its own axes and colour bar.

    Args:
        specs: Figures of one panel, with the axes `x` and `y` and their title as an annotation.
    """
    columns = min(COLUMNS, len(specs))
    lines = -(-len(specs) // columns)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"annotations": [], "margin": specs[0]["layout"]["margin"]}
    layout["height"] = 120 + lines * (300 if len(specs) > 1 else 440)
    for index, spec in enumerate(specs):
        x, y = _span(index % columns, columns), _span(lines - 1 - index // columns, lines)
        own = spec["layout"]
        for letter, other, domain in (("x", "y", x), ("y", "x", y)):
            name = f"{letter}axis{axis(letter, index)[1:]}"
            layout[name] = own[f"{letter}axis"] | {"domain": domain, "anchor": axis(other, index)}
        layout["annotations"] += [
            {**note, "x": sum(x) / 2, "xanchor": "center", "y": y[1]} for note in own["annotations"]
        ]
        data += [_placed(drawn, index, x, y) for drawn in spec["data"]]
    return {"data": data, "layout": layout}


def _placed(drawn: dict[str, Any], index: int, x: list[float], y: list[float]) -> dict[str, Any]:
    axes = {"xaxis": axis("x", index), "yaxis": axis("y", index), "meta": {**drawn["meta"], "panel": index}}
    if "colorbar" not in drawn:
        return {**drawn, **axes}
    bar = {"x": x[1] + 0.005, "y": sum(y) / 2, "len": y[1] - y[0], "xanchor": "left", "yanchor": "middle"}
    return {**drawn, **axes, "colorbar": drawn["colorbar"] | bar | {"title": {"text": ""}}}


def _span(place: int, count: int) -> list[float]:
    return [place / count, (place + 1 - GAP * (count > 1)) / count]
