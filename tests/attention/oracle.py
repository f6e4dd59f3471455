"""Multi-head attention written out in NumPy with loops over batch and heads, independent of torch's functional code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mha_viz.inputs.assemble import Inputs
from mha_viz.masks import mask, score_bias
from mha_viz.scenario import Scenario

Array = NDArray[np.float64]


def weights(s: Scenario, layer: nn.MultiheadAttention, inputs: Inputs) -> Array:
    """Return softmax weights [N, H, L, S] in float64, extra columns included; dropout is left out."""
    state = {name: value.detach().double().cpu().numpy() for name, value in layer.state_dict().items()}
    if "in_proj_weight" in state:
        wq, wk, _ = np.split(state["in_proj_weight"], 3)
    else:
        wq, wk = state["q_proj_weight"], state["k_proj_weight"]
    bq, bk, _ = np.split(state.get("in_proj_bias", np.zeros(3 * s.embed_dim)), 3)
    query = inputs.query.double().numpy() @ wq.T + bq  # [N, L, E]
    key = inputs.key.double().numpy() @ wk.T + bk  # [N, S, E]
    items = []
    for n in range(query.shape[0]):
        keys = key[n]
        if s.add_bias_kv:
            keys = np.concatenate([keys, state["bias_k"][0]])
        if s.add_zero_attn:
            keys = np.concatenate([keys, np.zeros((1, s.embed_dim))])
        items.append([_head(s, query[n], keys, inputs, n, h) for h in range(s.num_heads)])
    return np.array(items)


def _head(s: Scenario, query: Array, keys: Array, inputs: Inputs, n: int, h: int) -> Array:
    dim = s.embed_dim // s.num_heads
    own = slice(h * dim, (h + 1) * dim)
    scores = query[:, own] @ keys[:, own].T / np.sqrt(dim) + _added(s, inputs, n, h, len(keys))
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _added(s: Scenario, inputs: Inputs, n: int, h: int, columns: int) -> Array:
    items, length, keys = inputs.query.shape[0], inputs.query.shape[1], inputs.key.shape[1]
    sizes = {"batch_size": items, "num_heads": s.num_heads}
    allowed = mask(s.mask).allowed(length, keys, **sizes).expand(items, s.num_heads, length, keys)[n, h].numpy()
    added = np.zeros((length, columns))
    added[:, :keys][~allowed] = -np.inf
    if s.score_bias:
        values = score_bias(s.score_bias).values(length, keys, **sizes)
        added[:, :keys] += values.double().expand(items, s.num_heads, length, keys)[n, h].numpy()
    if inputs.key_lengths is not None:
        added[:, inputs.key_lengths[n] : keys] = -np.inf
    return added
