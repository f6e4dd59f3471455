"""Torch's stacks written out in NumPy: attention, feed-forward and norms in float64, independent of torch's modules."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mha_viz.inputs.assemble import Inputs
from mha_viz.masks import mask, score_bias
from mha_viz.scenario import Scenario

Array = NDArray[np.float64]


def erf(x: Array) -> Array:
    found: Array = torch.erf(torch.from_numpy(x)).numpy()
    return found


@dataclass
class Written:
    """One pass through a stack: its parameters by name, and the weights [N, H, L, S] of each attention call."""

    s: Scenario
    state: dict[str, Array]
    weights: list[Array] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.state[f"{name}.weight"].T + self.state.get(f"{name}.bias", 0.0)

    def norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * self.state[f"{name}.weight"] + self.state.get(f"{name}.bias", 0.0)

    def attention(self, query: Array, key: Array, name: str, added: Array) -> Array:
        heads, dim = self.s.num_heads, self.s.embed_dim // self.s.num_heads
        bias = self.state.get(f"{name}.in_proj_bias", np.zeros(3 * self.s.embed_dim))
        three = zip(np.split(self.state[f"{name}.in_proj_weight"], 3), np.split(bias, 3), strict=True)
        q, k, v = (x @ w.T + b for x, (w, b) in zip((query, key, key), three, strict=True))
        weights = np.empty((len(query), heads, query.shape[1], key.shape[1]))
        joined = np.empty_like(q)
        for n in range(len(query)):
            for h in range(heads):
                own = slice(h * dim, (h + 1) * dim)
                with np.errstate(invalid="ignore"):
                    scores = q[n][:, own] @ k[n][:, own].T / math.sqrt(dim) + added[n, h]
                    powers = np.exp(scores - scores.max(-1, keepdims=True))
                weights[n, h] = powers / powers.sum(-1, keepdims=True)
                joined[n][:, own] = weights[n, h] @ v[n][:, own]
        self.weights.append(weights)
        self.names.append(name)
        return self.linear(joined, f"{name}.out_proj")

    def feed_forward(self, x: Array, layer: str) -> Array:
        hidden = self.linear(x, f"{layer}.linear1")
        gelu = self.s.activation == "gelu"
        active = hidden * 0.5 * (1 + erf(hidden / math.sqrt(2))) if gelu else np.maximum(hidden, 0)
        return self.linear(active, f"{layer}.linear2")

    def layer(self, x: Array, name: str, masks: dict[str, Array], memory: Array | None) -> Array:
        blocks = [lambda x: self.attention(x, x, f"{name}.self_attn", masks["self"])]
        if memory is not None:
            blocks.append(lambda x: self.attention(x, memory, f"{name}.multihead_attn", masks["memory"]))
        blocks.append(lambda x: self.feed_forward(x, name))
        for b, block in enumerate(blocks, 1):
            norm = f"{name}.norm{b}"
            x = x + block(self.norm(x, norm)) if self.s.norm_first else self.norm(x + block(x), norm)
        return x

    def stack(self, x: Array, prefix: str, masks: dict[str, Array], memory: Array | None = None) -> Array:
        for i in range(self.s.num_layers):
            x = self.layer(x, f"{prefix}layers.{i}", masks, memory)
        return x


def added(s: Scenario, text: str, bias: str, items: int, length: int, keys: int, real: tuple[int, ...] | None) -> Array:
    """Return what a mask, a score bias and lengths add to scores, [N, H, L, S]."""
    sizes = {"batch_size": items, "num_heads": s.num_heads}
    allowed = mask(text).allowed(length, keys, **sizes).expand(items, s.num_heads, length, keys).numpy()
    found = np.where(allowed, 0.0, -np.inf)
    if bias:
        values = score_bias(bias).values(length, keys, **sizes).double()
        found = found + values.expand(items, s.num_heads, length, keys).numpy()
    for n, end in enumerate(real or ()):
        found[n, :, :, end:] = -np.inf
    return found


def forward(
    s: Scenario, stack: nn.Module, inputs: Inputs, target_lengths: tuple[int, ...] | None = None
) -> tuple[Written, Array]:
    """Return the pass and the output [N, L, E] of a Scenario's stack without dropout."""
    done = Written(s, {name: value.detach().double().cpu().numpy() for name, value in stack.state_dict().items()})
    query, key = inputs.query.double().numpy(), inputs.key.double().numpy()
    items, length, keys = len(query), query.shape[1], key.shape[1]
    if s.stack == "encoder":
        own = added(s, s.mask, s.score_bias, items, length, length, inputs.key_lengths)
        return done, done.stack(query, "", {"self": own})
    masks = {
        "self": added(s, s.mask, s.score_bias, items, length, length, target_lengths),
        "memory": added(s, s.memory_mask, "", items, length, keys, inputs.key_lengths),
    }
    if s.stack == "decoder":
        return done, done.stack(query, "", masks, key)
    source = {"self": added(s, s.src_mask, "", items, keys, keys, inputs.key_lengths)}
    memory = done.norm(done.stack(key, "encoder.", source), "encoder.norm")
    return done, done.norm(done.stack(query, "decoder.", masks, memory), "decoder.norm")
