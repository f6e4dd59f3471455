"""The README's plot of the comparison with the peers: time and memory against the length, from the kept figures.

Written as SVG by hand: a few lines on two grids need no library, the file stays small and can be compared line by
line, and its colours follow the reader's light or dark theme, which no plotting library's export does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks import limits, paint, table

IMAGE = "images/benchmarks.svg"
WIDTH, HEIGHT, TOP, BOTTOM, SIDE = 900, 420, 92, 48, 62
PANEL = (WIDTH - 3 * SIDE) / 2
LABEL = 42
"""Pixels that a number below the grid takes; closer ones are left out."""
MB = 1e6

# Line in the light theme, line in the dark theme, marker.
DOT, SQUARE, DIAMOND = "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z", "M-3.5,-3.5H3.5V3.5H-3.5Z", "M0,-5L5,0L0,5L-5,0Z"
UP, DOWN, CROSS = "M0,-5L4.6,3.5H-4.6Z", "M0,5L4.6,-3.5H-4.6Z", "M-4,-4L4,4M4,-4L-4,4"
LOOKS = {
    paint.APP: ("#1f5fbf", "#6ea8fe", DOT),
    paint.FLOOR: ("#6e7781", "#9198a1", SQUARE),
    paint.CHART: ("#bc4c00", "#f0883e", DIAMOND),
    "bertviz": ("#8250df", "#be8fff", UP),
    "circuitsvis": ("#1a7f37", "#56d364", DOWN),
    "inspectus": ("#bf3989", "#ff80c8", SQUARE),
    "treescope": ("#7d6100", "#d4b106", DIAMOND),
}


@dataclass(frozen=True)
class Panel:
    """One grid with two logarithmic axes.

    Attributes:
        left: Its left edge, in pixels.
        title: What stands above it.
        value: Of a figure, what is drawn upwards.
        ticks: Where the grid's lines are, and what stands beside them.
        lengths: The lengths across, ascending.
    """

    left: float
    title: str
    value: Callable[[Mapping[str, Any]], float]
    ticks: Mapping[float, str]
    lengths: Sequence[int]

    def x(self, length: float) -> float:
        """Return where a length stands, in pixels from the left."""
        first, last = math.log(self.lengths[0]), math.log(self.lengths[-1])
        return self.left + PANEL * ((math.log(length) - first) / (last - first) if last > first else 0.5)

    def y(self, value: float) -> float:
        """Return where a value stands, in pixels from the top; what is off the grid stands at its rim."""
        low, high = math.log(min(self.ticks)), math.log(max(self.ticks))
        share = (math.log(max(value, min(self.ticks))) - low) / (high - low)
        return HEIGHT - BOTTOM - min(share, 1.0) * (HEIGHT - BOTTOM - TOP)


def main(folder: Path = table.DOCS) -> None:
    """Draw the plot anew if there are figures of the peers."""
    kept = table.figures(folder).get("peers")
    if kept is not None:
        path = folder / IMAGE
        path.parent.mkdir(exist_ok=True)
        path.write_text(svg(kept["figures"]), encoding="utf-8")


def svg(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the plot of the part peers' figures."""
    lengths = sorted({int(figure["length"]) for figure in figures})
    times = {0.05: "50 ms", 0.2: "200 ms", 1: "1 s", 5: "5 s", 20: "20 s", limits.SECONDS: "60 s"}
    sizes = {100: "0.1 GB", 250: "", 500: "0.5 GB", 1000: "1 GB", 2000: "2 GB", limits.BYTES / MB: "4 GB"}
    panels = [
        Panel(SIDE, "change → painted picture", lambda figure: figure["change"], times, lengths),
        Panel(2 * SIDE + PANEL, "memory of its larger process", _larger, sizes, lengths),
    ]
    about = "Time and memory against the length of the sequence, of this app and of what a user would pick instead"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{about}">',
        f"<style>{_style()}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="8"/>',
        *_legend(sorted({str(figure["name"]) for figure in figures}, key=list(LOOKS).index)),
        *(part for panel in panels for part in _panel(panel, figures)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _larger(figure: Mapping[str, Any]) -> float:
    return float(max(figure["python_bytes"], figure["page_bytes"]) / MB)


def _style() -> str:
    light = "".join(f".s{i}{{--c:{look[0]}}}" for i, look in enumerate(LOOKS.values()))
    dark = "".join(f".s{i}{{--c:{look[1]}}}" for i, look in enumerate(LOOKS.values()))
    return (
        "text{font:13px system-ui,sans-serif;fill:#1f2328}.paper{fill:#fff}.grid{stroke:#d1d9e0}"
        "path{stroke:var(--c);fill:none;stroke-width:2}.mark{fill:var(--c)}.app{stroke-width:3.5}"
        f".floor,.over{{stroke-dasharray:5 4}}{light}"
        f"@media(prefers-color-scheme:dark){{text{{fill:#e6edf3}}.paper{{fill:#0d1117}}.grid{{stroke:#3d444d}}{dark}}}"
    )


def _legend(names: Sequence[str]) -> list[str]:
    step = (WIDTH - SIDE) / len(names)
    parts = []
    for place, name in enumerate(names):
        x = SIDE / 2 + 10 + place * step
        parts += [_mark(name, x, 24), f'<text x="{x + 10:.0f}" y="28">{name}</text>']
    return parts


def _panel(panel: Panel, figures: Sequence[Mapping[str, Any]]) -> list[str]:
    right = panel.left + PANEL
    parts = [f'<text x="{panel.left:.0f}" y="{TOP - 28}" font-weight="600">{panel.title}</text>']
    parts.append(f'<text x="{right:.0f}" y="{TOP - 8}" text-anchor="end">✕ stopped</text>')
    for value, label in panel.ticks.items():
        y = panel.y(value)
        parts.append(f'<line class="grid" x1="{panel.left:.0f}" x2="{right:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{panel.left - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    written = 0.0
    for length in reversed(panel.lengths):
        x = panel.x(length)
        if not written or written - x > LABEL:
            written = x
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{length:,}</text>')
    parts.append(f'<text x="{right:.0f}" y="{HEIGHT - 8}" text-anchor="end">tokens, 8 heads</text>')
    ordered = sorted(figures, key=lambda figure: list(LOOKS).index(figure["name"]), reverse=True)  # the app on top
    for name, own in groupby(ordered, key=lambda figure: str(figure["name"])):
        parts += _series(panel, name, list(own))
    return parts


def _series(panel: Panel, name: str, figures: Sequence[Mapping[str, Any]]) -> list[str]:
    known = sorted((figure for figure in figures if not figure["stopped"]), key=lambda figure: int(figure["length"]))
    points = [(panel.x(figure["length"]), panel.y(panel.value(figure))) for figure in known]
    number = list(LOOKS).index(name)
    kind = {paint.APP: " app", paint.FLOOR: " floor"}.get(name, "")
    parts = [f'<path class="s{number}{kind}" d="M{"L".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'] * bool(points)
    parts += [_mark(name, x, y) for x, y in points]
    for figure in figures:
        if figure["stopped"]:
            x, y = panel.x(figure["length"]), panel.y(max(panel.ticks))
            start = [f'<path class="s{number} over" d="M{points[-1][0]:.1f},{points[-1][1]:.1f}L{x:.1f},{y:.1f}"/>']
            parts += start * bool(points)
            parts.append(f'<path class="s{number}" d="{CROSS}" transform="translate({x:.1f},{y:.1f})"/>')
    return parts


def _mark(name: str, x: float, y: float) -> str:
    number, (*_, shape) = list(LOOKS).index(name), LOOKS[name]
    return f'<path class="mark s{number}" d="{shape}" transform="translate({x:.1f},{y:.1f})"/>'


if __name__ == "__main__":
    main()
