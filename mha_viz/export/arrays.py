"""Weights as files: .npz for programs, .csv for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mha_viz.attention.runs import Run


def npz(run: Run, *, layer: int = 0) -> bytes:
    """Return a compressed .npz: weights [N, H, L, S], average, output, allowed, tokens and the settings as a link.

    Every array loads with `allow_pickle=False`; half-precision formats are stored as float32. `output` is left out
    where it is not known.
    """
    record = run.layers[layer]
    tensors = {"weights": record.held, "average": record.average, "output": record.output}
    arrays: dict[str, Any] = {name: _array(tensor) for name, tensor in tensors.items() if tensor is not None}
    items = range(record.weights.shape[0])
    file = io.BytesIO()
    np.savez_compressed(
        file,
        **arrays,
        allowed=record.allowed.expand_as(record.weights).cpu().numpy(),
        query_tokens=np.array([run.query_tokens(n, layer) for n in items], dtype=np.str_),
        key_tokens=np.array([run.key_tokens(n, layer) for n in items], dtype=np.str_),
        scenario=np.array(run.scenario.to_query() if run.scenario else "", dtype=np.str_),
    )
    return file.getvalue()


def _array(tensor: Tensor) -> NDArray[np.floating[Any]]:
    found: NDArray[np.floating[Any]] = (tensor if tensor.dtype == torch.float64 else tensor.float()).cpu().numpy()
    return found


def csv_text(run: Run, *, layer: int = 0, item: int = 0) -> str:
    """Return one layer's weights for one batch item as CSV: a row for each head and query, a column for each key.

    Tokens that a spreadsheet would read as a formula are given a leading apostrophe.
    """
    queries, keys = run.query_tokens(item, layer), run.key_tokens(item, layer)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["head", "query", "query token", *[f"{k} {inert(token)}" for k, token in enumerate(keys)]])
    for head, rows in enumerate(run.layers[layer].held[item].float().tolist()):
        for query, row in enumerate(rows):
            writer.writerow([head, query, inert(queries[query]), *[f"{weight:.9g}" for weight in row]])
    return file.getvalue()


def inert(token: str) -> str:
    """Return a token that no spreadsheet reads as a formula."""
    return f"'{token}" if token[:1] in ("=", "+", "-", "@", "\t", "\r") else token
