"""A comparison as files: .npz for programs, .csv for spreadsheets."""

from __future__ import annotations

import csv
import io

import numpy as np

from mha_viz.attention.compare import Comparison
from mha_viz.export.arrays import inert


def npz(found: Comparison) -> bytes:
    """Return a compressed .npz: left, right and change [L, S] in float32, hidden [L, S], and both sides' tokens.

    Every array loads with `allow_pickle=False`.
    """
    file = io.BytesIO()
    np.savez_compressed(
        file,
        left=found.left.weights.numpy(),
        right=found.right.weights.numpy(),
        change=found.change.numpy(),
        hidden=found.hidden.numpy(),
        left_query_tokens=np.array(found.left.query_tokens, dtype=np.str_),
        left_key_tokens=np.array(found.left.key_tokens, dtype=np.str_),
        right_query_tokens=np.array(found.right.query_tokens, dtype=np.str_),
        right_key_tokens=np.array(found.right.key_tokens, dtype=np.str_),
    )
    return file.getvalue()


def csv_text(found: Comparison) -> str:
    """Return a row for each cell: its place, its tokens on the left, its weight on both sides, and the change.

    Tokens that a spreadsheet would read as a formula are given a leading apostrophe.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["query", "query token", "key", "key token", "left", "right", "change"])
    left, right, change = (tensor.tolist() for tensor in (found.left.weights, found.right.weights, found.change))
    queries, keys = ([inert(token) for token in names] for names in (found.left.query_tokens, found.left.key_tokens))
    for q, query in enumerate(queries):
        for k, key in enumerate(keys):
            writer.writerow([q, query, k, key, *(f"{part[q][k]:.9g}" for part in (left, right, change))])
    return file.getvalue()
