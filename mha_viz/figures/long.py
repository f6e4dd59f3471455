"""Pictures of long sequences: blocks of weights in every head, one head and the average large, and one query's row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mha_viz.attention.runs import Run
from mha_viz.figures import grammar, heads
from mha_viz.figures.grammar import WEIGHT_COLOURS, Codes, Floats, Scale, Spec
from mha_viz.figures.long_heads import Blocks, HeadPicture, picture, states_of_average
from mha_viz.figures.panel import Panel

BARS = 512  # of a row of weights


@dataclass(frozen=True, eq=False)
class Colours:
    """What colours show of the weights of some panels, the same at every zoom.

    Attributes:
        scale: What a colour means.
        low: The value of the first colour.
        high: The value of the last.
        bar: The colour bar.
        tops: For each panel what its weights are divided by, [rows | 1, 1]; None where a colour is the weight or its
            log.
    """

    scale: Scale
    low: float
    high: float
    bar: dict[str, Any]
    tops: tuple[Floats, ...] | None

    @classmethod
    def of(cls, blocks: Sequence[Floats | None], scale: Scale) -> Colours:
        """Return the colours for the largest weights of each panel's blocks, [rows, columns]; None for one without."""
        there = [panel for panel in blocks if panel is not None]
        low, high, bar = grammar.legend(there, scale)
        if scale in ("shared", "log"):
            return cls(scale, low, high, bar, None)
        if scale == "per row":
            bar = {"title": {"text": "share of the<br>largest in its<br>block of rows"}}
        axes = (0, 1) if scale == "per head" else (1,)
        return cls(scale, low, high, bar, tuple(_tops(panel, axes) for panel in blocks))

    def shown(self, weights: Floats, panel: int, lines: NDArray[np.intp] | slice = slice(None)) -> Floats:
        """Return what colours show of a panel's weights [rows, columns].

        Args:
            weights: Of blocks, or of smaller ones inside them.
            panel: Its number.
            lines: In which row of blocks each row lies.
        """
        if self.tops is not None:
            tops = self.tops[panel]
            shares: Floats = weights / (tops[lines] if len(tops) > 1 else tops)
            return shares
        if self.scale == "shared":
            return weights
        return grammar.scaled(weights, "log")[0]


def colours(found: Sequence[HeadPicture | None], scale: Scale) -> Colours:
    """Return the colours for all heads that are computed."""
    return Colours.of([None if head is None else head.largest for head in found], scale)


def grid(found: Sequence[HeadPicture | None], names: Sequence[str], blocks: Blocks, scale: Scale) -> Spec:
    """Return the blocks of every head; a head that is not computed yet is None, and its panel says `pending`.

    Args:
        found: The heads in order.
        names: What they are called.
        blocks: How the weights are cut.
        scale: What a colour means.
    """
    nothing = np.full(blocks.shape, np.nan, dtype=np.float32)
    colour = colours(found, scale)
    codes = _shared([None if head is None else head.codes for head in found])
    panels = [
        _panel(name, nothing, nothing, None, colour, bar=not p)
        if head is None
        else _panel(name, colour.shown(head.largest, p), head.largest, codes[p], colour, bar=not p)
        for p, (name, head) in enumerate(zip(names, found, strict=True))
    ]
    spec = heads.arranged(panels, *labels(blocks), blocks.side)
    for about, head in zip(spec["layout"]["meta"]["panels"], found, strict=True):
        about["pending"] = head is None
    return spec


def of_run(run: Run, *, layer: int = 0, item: int = 0, scale: Scale = "log") -> Spec:
    """Return the blocks of every head of a streamed layer, after a pass over each.

    Raises:
        ScenarioError: There is no such item.
        MaskError: The mask divides by zero somewhere.
    """
    record = run.layers[layer]
    assert record.streamed is not None, "what is held is drawn as it is"
    blocks = Blocks.of(*record.shape[2:], record.shape[1])
    found = [picture(record.streamed, blocks, item, head) for head in range(record.shape[1])]
    return grid(found, [record.head_name(head) for head in range(len(found))], blocks, scale)


def detail(found: Sequence[HeadPicture], head: int, names: Sequence[str], blocks: Blocks, scale: Scale) -> Spec:
    """Return one head's largest weights beside the means of the average over heads; arguments as `grid`.

    Means of blocks are far smaller than single weights, so that the average has a log scale of its own.
    """
    colour, logs = colours(found, scale), average_colours()
    mean = average(found)
    one = found[head]
    panels = [
        _panel(f"{names[head]}: largest", colour.shown(one.largest, head), one.largest, one.codes, colour, bar=True),
        _panel(
            f"average of {len(found)} heads: mean",
            logs.shown(mean, 0),
            mean,
            states_of_average([each.codes for each in found]),
            logs,
            bar=True,
        ),
    ]
    spec = heads.arranged(panels, *labels(blocks), blocks.side)
    spec["layout"]["meta"]["panels"][1]["pooling"] = "mean"
    return spec


def average(found: Sequence[HeadPicture]) -> Floats:
    """Return the mean over heads of the means of blocks, which is the mean of the average over heads."""
    total = found[0].mean.copy()
    for head in found[1:]:
        total += head.mean
    total /= np.float32(len(found))
    return total


def average_colours() -> Colours:
    """Return the colours of means, which do not depend on them."""
    return Colours.of([], "log")


def labels(blocks: Blocks) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return a label for each row and column of blocks: its first and its last token."""
    return _spans(blocks.length, blocks.side), _spans(blocks.keys, blocks.side)


def row(weights: Floats, key: int | None = None) -> Spec:
    """Return one query's weights [S] as at most 512 bars, each the largest of some neighbouring keys.

    Args:
        weights: NaN is drawn as no bar.
        key: The key whose bar stands out.
    """
    side = -(-len(weights) // BARS)
    starts = np.arange(0, len(weights), side)
    bars = np.fmax.reduceat(weights, starts)
    top = float(np.nan_to_num(bars, nan=0.0).max()) or 1.0
    colour = ["rgb(33,144,141)"] * len(bars)
    if key is not None:
        colour[key // side] = "rgb(253,180,37)"
    trace = {
        "type": "bar",
        "x": starts + (side - 1) / 2,
        "y": bars,
        "width": np.full(len(bars), 0.9 * side),
        "marker": {"color": colour, "line": {"width": 0}},
        "customdata": list(_spans(len(weights), side)),
        "hovertemplate": f"key %{{customdata}}<br>{'largest ' * (side > 1)}weight %{{y:.4g}}<extra></extra>",
        "showlegend": False,
    }
    layout = {
        "height": 260,
        "margin": {"l": 50, "r": 10, "t": 10, "b": 60},
        "xaxis": {"title": {"text": "key"}, "showgrid": False, "zeroline": False, "range": [-0.5, len(weights) - 0.5]},
        "yaxis": {"title": {"text": "weight"}, "range": [0, 1.08 * top], "zeroline": False},
    }
    return {"data": [trace], "layout": layout}


def _tops(blocks: Floats | None, axes: tuple[int, ...]) -> Floats:
    """Return the largest number of a panel or of each of its rows, 1 where that is 0 or there is none."""
    if blocks is None:
        return np.ones((1, 1), dtype=np.float32)
    top: Floats = np.nan_to_num(blocks, nan=0.0).max(axis=axes, keepdims=True)
    return np.where(top > 0, top, np.float32(1))


def _shared(codes: Sequence[Codes | None]) -> list[Codes | None]:
    """Return the same arrays, equal ones as one object, which travels to the browser once."""
    found: list[Codes | None] = []
    for each in codes:
        same = (other for other in found if other is not None and each is not None and np.array_equal(other, each))
        found.append(next(same, each))
    return found


def _panel(title: str, shown: Floats, weights: Floats, codes: Codes | None, colour: Colours, *, bar: bool) -> Panel:
    return Panel(title, shown, weights, codes, colour.low, colour.high, WEIGHT_COLOURS, colour.bar if bar else None)


def _spans(count: int, side: int) -> tuple[str, ...]:
    if side == 1:
        return tuple(str(i) for i in range(count))
    return tuple(f"{i} … {min(i + side, count) - 1}" for i in range(0, count, side))
