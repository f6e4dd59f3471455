"""Pictures of several layers together: rollout, entropy of every head, how alike heads are, the residual stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from mha_viz.attention import depth
from mha_viz.attention.runs import Run, record_of
from mha_viz.figures import grammar
from mha_viz.figures.grammar import NAN, Codes, Floats, Spec
from mha_viz.figures.heads import spec_of
from mha_viz.figures.panel import Panel

LINES = (("rgb(33,144,141)", "33,144,141", "solid"), ("rgb(59,81,139)", "59,81,139", "dash"))
MAX_MARGIN = 220


def rollout(run: Run, item: int = 0, layer: int = 0) -> Spec:
    """Return a heatmap of the attention rollout [L, L] up to and with one self-attention layer.

    Raises:
        ScenarioError: The layer is no self-attention, or an index is out of bounds.
    """
    record = record_of(run, layer, item=item)
    shares: Floats = depth.rollout_at(run, layer, item).numpy()
    _, low, high, bar = grammar.scaled(shares[None], "shared")
    chain = next(chain for chain in depth.chains(run) if layer in chain.layers)
    count = chain.layers.index(layer) + 1
    title = f"rollout through {count} layer{'s' if count > 1 else ''} of {chain.title}"
    panel = Panel(title, shares, shares, _codes(shares), low, high, grammar.WEIGHT_COLOURS, _titled(bar, "share"))
    spec = spec_of(replace(run, layers=(_plain(run, layer, item),)), 0, 0, [panel])
    _name(spec, ("token after " + record.name, "input token", "share"))
    return spec


def entropies(run: Run, item: int = 0) -> Spec:
    """Return a heatmap [layers, heads] of the mean entropy of each head's rows, in bits."""
    bits: Floats = depth.entropy(run, item).numpy()
    names = [layer.name for layer in run.layers]
    title = "entropy of each head"
    top = float(np.nan_to_num(bits).max(initial=0.0)) or 1.0
    panel = Panel(title, bits, bits, _codes(bits), 0.0, top, grammar.WEIGHT_COLOURS, _titled({}, "bits"))
    return _matrix(run, panel, (names, list(map(str, range(bits.shape[1])))), ("layer", "head", "bits"))


def similarity(run: Run, item: int = 0, layer: int = 0) -> Spec:
    """Return a heatmap of how alike all heads are, of the layers that have the shape of one layer.

    Raises:
        ScenarioError: An index is out of bounds.
    """
    found = depth.head_similarity(run, item, layer)
    values: Floats = found.values.numpy()
    names = [f"{at}.{head if (own := run.layers[at].heads) is None else own[head]}" for at, head in found.heads]
    title = "how alike heads are: 1 − Jensen-Shannon divergence"
    panel = Panel(title, values, values, _codes(values), 0.0, 1.0, grammar.WEIGHT_COLOURS, _titled({}, "alike"))
    return _matrix(run, panel, (names, names), ("layer.head", "layer.head", "alike"))


def norms(run: Run, item: int = 0) -> Spec:
    """Return lines of the residual stream's norm after each layer: the mean over tokens, and the range around it.

    Raises:
        ScenarioError: The run holds no norms, or `item` is out of bounds.
    """
    found = depth.norms(run, item)
    starts = [i for i, name in enumerate(found.names) if i == 0 or name.endswith(" input")]
    data: list[dict[str, Any]] = []
    for index, (start, end) in enumerate(zip(starts, [*starts[1:], len(found.names)], strict=True)):
        data += _line(found, range(start, end), LINES[index % len(LINES)])
    longest = max(end - start for start, end in zip(starts, [*starts[1:], len(found.names)], strict=True))
    layout = {
        "height": 320,
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
        "xaxis": {"title": {"text": "layers passed"}, "dtick": max(1, longest // 12), "zeroline": False},
        "yaxis": {"title": {"text": "norm"}, "rangemode": "tozero", "zeroline": False},
        "showlegend": len(starts) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": data, "layout": layout}


def reached(run: Run, found: Tensor, *, of: Literal["query", "key"] = "query") -> Spec:
    """Return a heatmap of what the outputs of a whole stack depend on, in powers of ten.

    Args:
        run: The stack's run; its last layer looks from the outputs' tokens, in a decoder at the memory.
        found: What `reach_of` returned, [L_out, L_in].
        of: Which input was replaced.
    """
    last = len(run.layers) - 1
    outputs = run.query_tokens(0, last)
    inputs = outputs if of == "query" else run.key_tokens(0, last)
    change: Floats = found.float().numpy()
    values, low, high, bar = grammar.scaled(change[None], "log")
    high = max(high, float(values.max(initial=high)))
    title = "how far each output moves when an input is replaced"
    panel = Panel(title, values[0], change, None, low, high, grammar.WEIGHT_COLOURS, _titled(bar, "change"))
    return _matrix(run, panel, (outputs, inputs), ("output", "input", "change"))


def _line(found: depth.Norms, places: range, look: tuple[str, str, str]) -> Iterator[dict[str, Any]]:
    """Yield the band from the smallest to the largest norm and, over it, the line of the mean."""
    colour, parts, dash = look
    x = list(range(len(places)))
    own = slice(places.start, places.stop)
    mean, low, high = (part[own].numpy() for part in (found.mean, found.low, found.high))
    stream = grammar.label(found.names[places.start].removesuffix(" input").partition(".layers")[0])
    yield {
        "type": "scatter",
        "mode": "lines",
        "x": [*x, *reversed(x)],
        "y": np.concatenate([high, low[::-1]]),
        "fill": "toself",
        "fillcolor": f"rgba({parts},0.18)",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    names = [grammar.label(found.names[i]) for i in places]
    yield {
        "type": "scatter",
        "mode": "lines+markers",
        "x": x,
        "y": mean,
        "name": stream,
        "line": {"color": colour, "width": 2, "dash": dash},
        "customdata": [
            f"{n}<br>mean {m:.3g}, from {a:.3g} to {b:.3g}" for n, m, a, b in zip(names, mean, low, high, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _matrix(run: Run, panel: Panel, labels: tuple[Sequence[str], Sequence[str]], words: tuple[str, str, str]) -> Spec:
    """Return a figure of one panel whose rows and columns are no tokens but what `labels` and `words` say."""
    rows, columns = (tuple(names) for names in labels)
    record = replace(run.layers[0], query_tokens=(rows,), key_tokens=(columns,), extra_keys=())
    spec = spec_of(replace(run, layers=(record,)), 0, 0, [panel])
    _name(spec, words)
    spec["layout"]["meta"]["panels"][0] |= {"rows": words[0], "columns": words[1]}
    spec["layout"]["margin"]["l"] = min(MAX_MARGIN, 40 + 7 * max(min(len(name), grammar.MAX_LABEL) for name in rows))
    return spec


def _name(spec: Spec, words: tuple[str, str, str]) -> None:
    """Say what rows, columns and numbers of a figure of one panel are."""
    row, column, value = map(grammar.label, words)
    layout, trace = spec["layout"], spec["data"][0]
    layout["yaxis"]["title"], layout["xaxis"]["title"] = {"text": row}, {"text": column}
    layout["meta"] |= {"query_title": words[0], "key_title": words[1], "value_title": words[2]}
    trace["hovertemplate"] = f"{trace['name']}<br>{row} %{{y}}, {column} %{{x}}<br>{value} %{{z:.4g}}<extra></extra>"


def _plain(run: Run, layer: int, item: int) -> Any:
    """Return the record of a layer with one item, the labels of that item."""
    tokens = (run.query_tokens(item, layer),)
    return replace(run.layers[layer], query_tokens=tokens, key_tokens=tokens, extra_keys=())


def _titled(bar: dict[str, Any], title: str) -> dict[str, Any]:
    return {**bar, "title": {"text": title}}


def _codes(values: Floats) -> Codes | None:
    """Return which cells are NaN, or None where none is."""
    broken = np.isnan(values)
    return np.where(broken, np.uint8(NAN), np.uint8(0)) if broken.any() else None
