"""The layer of a Scenario, a `torch.nn.MultiheadAttention`, and the arguments of its forward."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz import masks
from mha_viz.inputs.assemble import Inputs
from mha_viz.masks import encode
from mha_viz.remember import remembered
from mha_viz.scenario import Scenario

CONSTRUCTOR = ("dropout", "bias", "add_bias_kv", "add_zero_attn", "kdim", "vdim", "batch_first")

_global_random_state = threading.RLock()


@contextmanager
def seeded(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch's global generator for the block, and put it back afterwards; one thread at a time."""
    devices = [torch.device(device)] if device.startswith("cuda") else []
    with _global_random_state, torch.random.fork_rng(devices=devices):
        # Not torch.manual_seed: where torch has no accelerator, that queues each call and its stack trace for ever.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        elif device.startswith("mps"):
            torch.mps.manual_seed(seed)
        yield


def constructor(s: Scenario) -> dict[str, Any]:
    """Return the constructor's arguments after `embed_dim` and `num_heads`; device and dtype come later."""
    return {name: getattr(s, name) for name in CONSTRUCTOR}


def module(s: Scenario) -> nn.MultiheadAttention:
    """Return the layer of a Scenario, on its device, initialised as torch does after `torch.manual_seed(seed)`.

    It is made in float32 on the CPU and then moved, so that every device and dtype starts from the same weights.
    `qk_scale` multiplies the query projection.
    """
    with seeded(s.seed):
        layer = nn.MultiheadAttention(s.embed_dim, s.num_heads, **constructor(s))
    with torch.no_grad():
        query_projection(layer).mul_(s.qk_scale)
    return layer.to(device=s.device, dtype=getattr(torch, s.dtype)).train(s.training)


_LAYER_FIELDS = attrgetter("embed_dim", "num_heads", *CONSTRUCTOR, "qk_scale", "seed", "dtype", "device", "training")


def _layer_bytes(layer: nn.MultiheadAttention) -> int:
    return sum(parameter.nbytes for parameter in layer.parameters())


@remembered(128, key=_LAYER_FIELDS, size=_layer_bytes)
def shared_module(s: Scenario) -> nn.MultiheadAttention:
    """Return `module(s)`, made once for all Scenarios that differ in other things; it must not be changed."""
    return module(s)


def query_projection(layer: nn.MultiheadAttention) -> Tensor:
    """Return the [E, E] query projection of a layer, as a view of its parameter."""
    packed = layer._qkv_same_embed_dim
    return layer.in_proj_weight[: layer.embed_dim] if packed else layer.q_proj_weight


def arguments(s: Scenario, inputs: Inputs) -> dict[str, Any]:
    """Return the keyword arguments of the module's forward, on the Scenario's device and in its layout.

    `key` and `value` stay the same object as `query` where they are in `inputs`, as in a self-attention call.
    """
    n, length, keys = inputs.query.shape[0], inputs.query.shape[1], inputs.key.shape[1]
    attn_mask = shared_mask(s, s.mask, s.score_bias, n, length, keys)
    padding = padding_mask(s, inputs.key_lengths, keys)
    return {
        **placed(s, inputs),
        "key_padding_mask": padding[0] if padding is not None and s.unbatched else padding,
        "attn_mask": attn_mask,
        "is_causal": s.is_causal,
    }


def extra_keys(s: Scenario) -> tuple[str, ...]:
    """Return the labels of the columns that a layer appends, in order."""
    return ("bias_k",) * s.add_bias_kv + ("zero",) * s.add_zero_attn


def placed(s: Scenario, inputs: Inputs) -> dict[str, Any]:
    """Return query, key and value on the Scenario's device, in its number format and layout."""
    made: dict[int, Tensor] = {}
    for tensor in (inputs.query, inputs.key, inputs.value):
        if id(tensor) not in made:
            made[id(tensor)] = _laid_out(tensor.to(device=s.device, dtype=getattr(torch, s.dtype)), s)
    return {name: made[id(getattr(inputs, name))] for name in ("query", "key", "value")}


_MASK_FIELDS = attrgetter("score_bias", "mask_encoding", "num_heads", "dtype", "device")


def _mask_bytes(mask: Tensor | None) -> int:
    return 0 if mask is None else mask.nbytes


def encoding_of(s: Scenario) -> encode.Encoding:
    """Return how all masks of a call reach the module; of mixed kinds torch warns, and a score bias needs a float."""
    return "float" if s.score_bias or s.mask_encoding == "float" else "bool"


@remembered(128, key=lambda s, *about: (_MASK_FIELDS(s), about), size=_mask_bytes)
def shared_mask(s: Scenario, mask: str, score_bias: str, items: int, length: int, keys: int) -> Tensor | None:
    """Return the `attn_mask` argument [L, S] or [N * H, L, S] for texts of the mask language; it must not be changed.

    Args:
        s: Says how it is encoded, for how many heads, and where it lies.
        mask: What each query may attend to.
        score_bias: Added to the scores; may be empty.
        items: N.
        length: L.
        keys: S.
    """
    return encode.attn_mask(
        masks.mask(mask),
        masks.score_bias(score_bias) if score_bias else None,
        query_len=length,
        key_len=keys,
        batch_size=items,
        num_heads=s.num_heads,
        encoding=encoding_of(s),
        dtype=getattr(torch, s.dtype),
        device=s.device,
    )


def padding_mask(s: Scenario, lengths: tuple[int, ...] | None, keys: int) -> Tensor | None:
    """Return the `key_padding_mask` argument [N, S] for keys of which the first `lengths[n]` are real."""
    if lengths is None:
        return None
    return encode.key_padding_mask(
        lengths, keys, encoding=encoding_of(s), dtype=getattr(torch, s.dtype), device=s.device
    )


def _laid_out(tensor: Tensor, s: Scenario) -> Tensor:
    if s.unbatched:
        return tensor[0]
    return tensor if s.batch_first else tensor.transpose(0, 1)
