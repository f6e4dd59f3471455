"""What pages say of a Run in words and tables: pure functions of it.

Tables and shaded tokens are HTML with every token escaped; headline and caption are plain text.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from torch import Tensor

from mha_viz.attention import cell, memory, peak, stats
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.figures import grammar
from mha_viz.inputs.assemble import Sizes
from mha_viz.scenario import ATTENTION

MAX_STATISTICS = 32


def headline(run: Run, layer: int = 0) -> str:
    """Say what ran: real shapes, device, number format, and the forward's time and peak memory where they are known."""
    weights = f"weights {_shape(run.layers[layer].weights)}"
    alone = run.inputs is not None and len(run.layers) == 1
    parts = [f"{_given(run)} → {weights}" if alone else weights, f"{run.device} {run.dtype}"]
    if len(run.layers) > 1:
        parts.insert(0, f"layer {layer}: {run.layers[layer].name}")
    if run.seconds is not None:
        parts.append(f"{run.seconds * 1e3:.3g} ms" if run.seconds < 1 else f"{run.seconds:.3g} s")
    if (peak_bytes := _peak(run)) is not None:
        parts.append(f"peak {memory.spelled(peak_bytes)}")
    return " · ".join(parts)


def _given(run: Run) -> str:
    assert run.inputs is not None
    given = {"query": run.inputs.query, "key": run.inputs.key, "value": run.inputs.value}
    kinds = {id(tensor): (name, tensor) for name, tensor in reversed(given.items())}
    return ", ".join(f"{name} {_shape(tensor)}" for name, tensor in sorted(kinds.values(), key=_order))


def _order(named: tuple[str, Tensor]) -> int:
    return ("query", "key", "value").index(named[0])


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _peak(run: Run) -> int | None:
    """Return the peak memory as the device measured it, or as it is known of a single layer on the CPU."""
    if run.peak_bytes is not None or run.scenario is None or run.seconds is None or run.scenario.stack != ATTENTION:
        return run.peak_bytes
    n, _, length, keys = run.layers[0].weights.shape
    return peak.peak_bytes(run.scenario, Sizes(n, length, keys - len(run.layers[0].extra_keys)))


def caption(run: Run, item: int, layer: int = 0, masked: str = "masked") -> list[str]:
    """Say below the figure: masked share, NaN rows, row sums, leaked mass, and what may surprise about them.

    Args:
        run: The run.
        item: Batch item.
        layer: Index into its layers.
        masked: What the masks of the run do to the cells that they hide.
    """
    s = stats.summarise(run.layers[layer], item)
    parts = [f"{s.masked:.1%} {masked}", f"{s.nan_rows:,} of {s.rows:,} rows NaN"]
    if not math.isnan(s.row_sum_low):
        parts.append(f"row sums {s.row_sum_low:.3f} to {s.row_sum_high:.3f}")
    parts.append(f"leaked mass {s.leaked:.3g}")
    return [" · ".join(parts), *explanations(run.layers[layer], s)]


def explanations(layer: LayerAttention, s: stats.Summary) -> list[str]:
    """Return one sentence for each thing about these weights that surprises people."""
    said = []
    if layer.dropout:
        said.append(
            f"Train mode with dropout {layer.dropout:g}: a weight is set to 0 with that probability and the others are "
            f"divided by {1 - layer.dropout:g}, so rows do not sum to 1."
        )
    if s.nan_rows:
        said.append(
            "A row is NaN when every key is hidden from its query: the softmax then divides 0 by 0. NaN or inf in the "
            "inputs does it too."
        )
    if layer.extra_keys:
        columns = "column is" if len(layer.extra_keys) == 1 else f"{len(layer.extra_keys)} columns are"
        said.append(f"The last {columns} appended by the layer ({', '.join(layer.extra_keys)}); no mask hides them.")
    if layer.how == "function":
        said.append("These are the weights that F.scaled_dot_product_attention used, read off the function itself.")
    elif layer.how == "softmax":
        said.append("These are the result of a softmax over the last dimension, seen as it was computed.")
    elif layer.returned is None and layer.passed is not None:
        said.append(
            "The model calls this attention without asking for weights; they were asked for on the side. The outputs "
            f"with and without them {_apart(layer.output_change)}."
        )
    elif layer.returned is not layer.weights:
        asked = "need_weights=False returned no weights" if layer.returned is None else "returned only their average"
        outputs = f"The outputs of the two {_apart(layer.output_change)}."
        said.append(f"Your call {asked}; these come from a second call. {outputs}")
    return said


def _apart(change: float) -> str:
    """Say how far outputs lie apart, of which the largest difference is given."""
    if math.isinf(change):
        return "differ: one holds NaN where the other holds numbers"
    return f"differ by at most {change:.2g}" if change else "are equal"


def shaded(names: Sequence[str], weights: Sequence[float]) -> str:
    """Return tokens on backgrounds that darken with their weight; a NaN has a dashed frame instead."""
    top = max((w for w in weights if not math.isnan(w)), default=0.0) or 1.0
    spans = []
    for name, weight in zip(names, weights, strict=True):
        strength = 0.0 if math.isnan(weight) else 0.9 * weight / top
        style = f"border:1px dashed {grammar.NAN_COLOUR}" if math.isnan(weight) else ""
        style = style or f"background:rgba(33,144,141,{strength:.3f})"
        title = html.escape(f"{name}: {weight:.4g}", quote=True)
        spans.append(f'<span title="{title}" style="{style}">{html.escape(name)}</span>')
    return f'<div class="mha-tokens">{" ".join(spans)}</div>'


def chosen(run: Run, item: int, head: int, query: int, key: int, layer: int = 0) -> str:
    """Name the chosen cell."""
    names = html.escape(run.query_tokens(item, layer)[query]), html.escape(run.key_tokens(item, layer)[key])
    head_name = run.layers[layer].head_name(head).capitalize()
    return f"<b>{head_name}: how much query {query} “{names[0]}” attends to key {key} “{names[1]}”</b>"


def arithmetic(row: cell.Row, key: int) -> str:
    """Return a table of the steps from q·k to the weight of one key."""
    added = float(row.added[key])
    steps = [
        ("q · k", _number(float(row.dots[key]))),
        ("× scale, 1 / √D", _number(row.scale)),
        ("+ mask and bias", _number(added) + (" (masked)" if added == -math.inf else "")),
        ("= score", _number(float(row.scores[key]))),
        ("exp(score - largest score of the row)", _number(float(row.exponentials[key]))),
        ("÷ softmax denominator, their sum over all keys", _number(row.denominator)),
        ("= weight", _number(float(row.weights[key]))),
    ]
    if row.dropped:
        steps.append(("after dropout", _number(float(row.returned[key]))))
    return table(("step", "value"), steps, "mha-steps")


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.4g}".replace("inf", "∞").replace("-", "−")


def statistics(run: Run, item: int, layer: int = 0) -> str:
    """Return a table of each head's entropy, mean distance and largest weight."""
    names, keys = run.query_tokens(item, layer), run.key_tokens(item, layer)
    lines = [
        (str(s.head), f"{s.entropy:.3g}", f"{s.distance:.3g}", f"{s.largest:.3g}", f"{names[s.query]} → {keys[s.key]}")
        for s in stats.head_stats(run.layers[layer], item)[:MAX_STATISTICS]
    ]
    heads = ("head", "entropy (bits)", "mean distance (tokens)", "largest weight", "from → to")
    return table(heads, lines, "mha-statistics")


def table(heads: Sequence[str], lines: Sequence[Sequence[str]], name: str) -> str:
    """Return an HTML table of texts, all escaped."""
    top = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>" for line in lines)
    return f'<table class="mha-table {name}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
