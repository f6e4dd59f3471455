"""Weights as files: .npz for programs, .csv for spreadsheets."""

from __future__ import annotations

import csv
import io

import numpy as np

from mha_viz.attention.records import Run


def npz(run: Run) -> bytes:
    """Return a compressed .npz: weights [N, H, L, S], average, output, allowed, tokens and the settings as a link.

    Every array loads with `allow_pickle=False`; half-precision formats are stored as float32.
    """
    layer = run.layers[0]
    arrays = {name: getattr(layer, name).float() for name in ("weights", "average", "output")}
    if run.dtype == "float64":
        arrays = {name: getattr(layer, name) for name in arrays}
    items = range(layer.weights.shape[0])
    file = io.BytesIO()
    np.savez_compressed(
        file,
        **{name: tensor.cpu().numpy() for name, tensor in arrays.items()},
        allowed=layer.allowed.expand_as(layer.weights).cpu().numpy(),
        query_tokens=np.array([run.query_tokens(n) for n in items], dtype=np.str_),
        key_tokens=np.array([run.key_tokens(n) for n in items], dtype=np.str_),
        scenario=np.array(run.scenario.to_query() if run.scenario else "", dtype=np.str_),
    )
    return file.getvalue()


def csv_text(run: Run, *, item: int = 0) -> str:
    """Return one batch item's weights as CSV: a row for each head and query, a column for each key.

    Tokens that a spreadsheet would read as a formula are given a leading apostrophe.
    """
    layer = run.layers[0]
    queries, keys = run.query_tokens(item), run.key_tokens(item)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["head", "query", "query token", *[f"{k} {_inert(token)}" for k, token in enumerate(keys)]])
    for head, rows in enumerate(layer.weights[item].float().tolist()):
        for query, row in enumerate(rows):
            writer.writerow([head, query, _inert(queries[query]), *[f"{weight:.9g}" for weight in row]])
    return file.getvalue()


def _inert(token: str) -> str:
    return f"'{token}" if token[:1] in ("=", "+", "-", "@", "\t", "\r") else token
