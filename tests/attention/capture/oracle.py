"""Torch's attention modules and stacks written out in NumPy, float64, from their parameters alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[np.float64]


def array(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def attended(scores: Array) -> Array:
    with np.errstate(invalid="ignore"):
        powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def added(attn_mask: Tensor | None, padding: Tensor | None, shape: tuple[int, int, int, int]) -> Array:
    """Return what the module's masks add to the scores, [N, H, L, S]."""
    total = np.zeros(shape)
    n, h, length, keys = shape
    for mask, is_padding in ((attn_mask, False), (padding, True)):
        if mask is None:
            continue
        values = np.where(mask.numpy(), -np.inf, 0.0) if mask.dtype == torch.bool else array(mask)
        if is_padding:
            total = total + values.reshape(-1, 1, 1, keys)
        else:
            total = total + (values if values.ndim == 2 else values.reshape(n, h, length, keys))
    return total


def multihead(
    mha: nn.MultiheadAttention,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Tensor | None = None,
    padding: Tensor | None = None,
) -> tuple[Array, Array]:
    """Return weights [N, H, L, S] and output [N, L, E] for inputs with the batch first."""
    if mha.in_proj_weight is not None:
        three = np.split(array(mha.in_proj_weight), 3)
    else:
        three = [array(getattr(mha, f"{x}_proj_weight")) for x in "qkv"]
    biases = np.split(array(mha.in_proj_bias), 3) if mha.in_proj_bias is not None else [np.zeros(1)] * 3
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), three, biases, strict=True))
    shape = (len(q), mha.num_heads, q.shape[1], k.shape[1])
    mask = added(attn_mask, padding, shape)
    if mha.bias_k is not None:
        k, v = (
            np.concatenate([x, np.tile(array(b), (len(x), 1, 1))], 1) for x, b in ((k, mha.bias_k), (v, mha.bias_v))
        )
    if mha.add_zero_attn:
        k, v = (np.pad(x, ((0, 0), (0, 1), (0, 0))) for x in (k, v))
    mask = np.pad(mask, ((0, 0), (0, 0), (0, 0), (0, k.shape[1] - shape[3])))
    q, k, v = (x.reshape(len(x), -1, mha.num_heads, mha.head_dim) for x in (q, k, v))
    weights = attended(np.einsum("nlhd,nshd->nhls", q, k) / math.sqrt(mha.head_dim) + mask)
    joined = np.einsum("nhls,nshd->nlhd", weights, v).reshape(*query.shape[:2], -1)
    bias = 0.0 if mha.out_proj.bias is None else array(mha.out_proj.bias)
    return weights, joined @ array(mha.out_proj.weight).T + bias


@dataclass
class Pass:
    """One pass through torch's stacks: the weights of each attention call by the name of its module, in order."""

    weights: dict[str, Array] = field(default_factory=dict)
    stream: list[Array] = field(default_factory=list)

    def block(
        self, name: str, x: Array, layer: nn.Module, masks: dict[str, Tensor | None], memory: Array | None
    ) -> Array:
        """Return the output of an encoder layer, or with a memory of a decoder layer."""

        def attention(part: str, x: Array, other: Array, kind: str) -> Array:
            mha = getattr(layer, part)
            masked = (masks.get(kind), masks.get(f"{kind}_padding"))
            self.weights[f"{name}.{part}"], output = multihead(mha, x, other, other, *masked)
            return output

        steps = [lambda x: attention("self_attn", x, x, "self")]
        if memory is not None:
            steps.append(lambda x: attention("multihead_attn", x, memory, "memory"))
        steps.append(lambda x: linear(layer.linear2, np.maximum(linear(layer.linear1, x), 0)))
        for i, step in enumerate(steps, 1):
            norm = getattr(layer, f"norm{i}")
            x = x + step(normed(norm, x)) if layer.norm_first else normed(norm, x + step(x))
        return x

    def stack(
        self, prefix: str, module: nn.Module, x: Array, masks: dict[str, Tensor | None], memory: Array | None = None
    ) -> Array:
        """Return the output of a `TransformerEncoder` or `TransformerDecoder`."""
        self.stream.append(x)
        for i, layer in enumerate(module.layers):
            x = self.block(f"{prefix}layers.{i}", x, layer, masks, memory)
            self.stream.append(x)
        return x if module.norm is None else normed(module.norm, x)


def linear(module: nn.Linear, x: Array) -> Array:
    return x @ array(module.weight).T + array(module.bias)


def normed(norm: nn.LayerNorm, x: Array) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps) * array(norm.weight) + array(norm.bias)
