"""What the page says of a long sequence, in words and tables: pure functions, nothing here grows with its length."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from mha_viz.attention import memory
from mha_viz.attention.runs import Run
from mha_viz.attention.stats import HeadStats, Summary
from mha_viz.figures.grammar import Floats, Scale
from mha_viz.figures.long_heads import Blocks, HeadPicture
from mha_viz.ui import words

LARGEST = 10  # keys in the table of a row
NUMBERS = tuple(str(i) for i in range(16))


def heading(run: Run, layer: int) -> str:
    """Say what ran, and that its weights are nowhere held."""
    needed = memory.spelled(run.layers[layer].weights.nbytes)
    return f"{words.headline(run, layer)} · {needed} if it were held; computed in blocks, never held"


def names(run: Run, layer: int, item: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of all queries and keys, or nothing of those that are just numbered."""
    query = run.query_tokens(item, layer)
    own = run.inputs.key_tokens[item] if run.inputs else query
    named = own[: len(NUMBERS)] != NUMBERS or run.layers[layer].extra_keys
    return () if query[: len(NUMBERS)] == NUMBERS else query, run.key_tokens(item, layer) if named else ()


def caption(
    found: Sequence[HeadPicture | None], blocks: Blocks, extra: tuple[str, ...], scale: Scale = "shared"
) -> list[str]:
    """Say below the picture how many rows are NaN, and what may surprise about it."""
    there = [head for head in found if head is not None]
    bad = sum(int(head.bad.sum()) for head in there)
    rows = f"{bad:,} of {len(there) * blocks.length:,} rows are NaN."
    said = [f"Choose a cell to open it. {rows}"]
    if scale == "shared" and there and _is_dark(there):
        said.append("Most of these weights are near 0 on this scale: the scale “log” tells them apart.")
    if bad:
        said.append("A row is NaN when every key is hidden from its query: the softmax then divides 0 by 0.")
    if extra:
        columns = "column is" if len(extra) == 1 else f"{len(extra)} columns are"
        said.append(f"The last {columns} appended by the layer ({', '.join(extra)}); no mask hides them.")
    return said


def _is_dark(there: Sequence[HeadPicture]) -> bool:
    """Return whether most blocks look like 0 where a colour is the weight itself."""
    largest = np.stack([head.largest for head in there])
    top = float(np.nan_to_num(largest).max())
    shown = largest[largest > 0]
    return len(shown) > 0 and float(np.median(shown)) < 0.05 * top


def summary(s: Summary) -> str:
    """Say what the pass for the statistics found of all rows."""
    parts = [f"{s.masked:.1%} masked", f"{s.nan_rows:,} of {s.rows:,} rows NaN"]
    if not math.isnan(s.row_sum_low):
        parts.append(f"row sums {s.row_sum_low:.3f} to {s.row_sum_high:.3f}")
    return " · ".join(parts)


def statistics(found: Sequence[HeadStats]) -> str:
    """Return a table of each head's entropy, mean distance and largest weight."""
    lines = [
        (str(s.head), f"{s.entropy:.3g}", f"{s.distance:,.3g}", f"{s.largest:.3g}", f"{s.query:,} → {s.key:,}")
        for s in found
    ]
    columns = ("head", "entropy (bits)", "mean distance (tokens)", "largest weight", "from → to")
    return words.table(columns, lines, "mha-statistics")


def chosen(head: str, query: int, key: int, weight: float, named: tuple[str, str]) -> str:
    """Name the chosen cell and its weight."""
    tokens = zip(named, (query, key), strict=True)
    of_query, of_key = ("" if name == str(i) else f" “{html.escape(name)}”" for name, i in tokens)
    said = (
        "is NaN: every key is hidden from it"
        if math.isnan(weight)
        else f"attends to key {key}{of_key} with {weight:.4g}"
    )
    return f"<b>{html.escape(head.capitalize())}: query {query}{of_query} {said}</b>"


def largest(weights: Floats, key: int, names_of_keys: Sequence[str]) -> str:
    """Return a table of the largest weights of a row [S], and of the chosen key, with their exact values."""
    count = min(LARGEST, len(weights))
    top = np.argpartition(-np.nan_to_num(weights), count - 1)[:count]
    keys = [int(k) for k in top[np.argsort(-weights[top], kind="stable")] if weights[k] > 0]
    place = {k: str(i + 1) for i, k in enumerate(keys)}
    if key not in place:
        keys.append(key)
        place[key] = f"{int((weights > weights[key]).sum()) + 1:,}"
    named = bool(names_of_keys)
    lines = [
        (place[k], f"{k:,}", *([names_of_keys[k]] if named else []), f"{weights[k]:.4g}", "chosen" * (k == key))
        for k in keys
    ]
    return words.table(("rank", "key", *(["token"] if named else []), "weight", ""), lines, "mha-largest")


def time_left(seconds: float | None) -> str:
    """Say about how much longer something takes."""
    if seconds is None:
        return ""
    if seconds < 100:
        return f", about {max(1, math.ceil(seconds))} s left"
    return f", about {math.ceil(seconds / 60)} min left"
