"""A pretrained layer as `nn.MultiheadAttention`: its query, key, value and output projections, found by name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.errors import InputError

# What models of transformers call the projections of their attention.
NAMES = {
    "query": ("query", "q_proj", "q_lin", "q"),
    "key": ("key", "k_proj", "k_lin", "k"),
    "value": ("value", "v_proj", "v_lin", "v"),
    "output": ("out_proj", "o_proj", "out_lin", "o", "c_proj", "dense"),
}
PACKED = ("c_attn", "qkv")  # query, key and value in one
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head")
Linear = tuple[Tensor, Tensor | None]


def as_multihead_attention(layer: nn.Module, num_heads: int | None = None) -> nn.MultiheadAttention:
    """Return an `nn.MultiheadAttention` with the weights of a pretrained layer, in eval mode and batch first.

    It computes the layer's attention if that is the usual kind: softmax(q·kᵀ / sqrt(D)). Rotary or relative positions
    and other scales are not the module's; compare before trusting it.

    Args:
        layer: A module that holds one attention: linear maps such as `query`, `key`, `value` and `output.dense` (BERT),
            `q_proj`, `k_proj`, `v_proj` and `out_proj` (BART, ViT), or `c_attn` and `c_proj` (GPT-2).
        num_heads: H, where the layer does not say it.

    Returns:
        A copy; a bias that only some of the maps have is 0 in the others.

    Raises:
        InputError: A projection is missing or there are several, H is unknown, or the shapes do not fit the module.
    """
    parts = {role: linear(_only(layer, role)) for role in NAMES} if _packed(layer) is None else _unpacked(layer)
    heads = num_heads or _heads(layer)
    embed_dim, kdim, vdim = (parts[role][0].shape[1] for role in ("query", "key", "value"))
    shapes = {"query": (embed_dim, embed_dim), "key": (embed_dim, kdim), "value": (embed_dim, vdim)}
    shapes["output"] = (embed_dim, embed_dim)
    for role, expected in shapes.items():
        if parts[role][0].shape != expected or embed_dim % heads:
            given = f"{role} of shape {tuple(parts[role][0].shape)} with {heads} heads"
            raise InputError(f"A layer of nn.MultiheadAttention needs projections [E, E] with E = H · D, not {given}.")
    return _module(parts, heads, kdim, vdim)


def linears(layer: nn.Module, role: str) -> list[nn.Module]:
    """Return the different linear maps of a role inside a layer; of an output's only the square ones."""
    found: dict[int, nn.Module] = {}
    for path, module in layer.named_modules():
        named = any(f".{path}".endswith(f".{name}") for name in NAMES[role])
        if named and _is_linear(module) and (role != "output" or _is_square(module)):
            found[id(module)] = module
    return list(found.values())


def _only(layer: nn.Module, role: str) -> nn.Module:
    found = linears(layer, role)
    if len(found) != 1:
        names = ", ".join(NAMES[role])
        raise InputError(f"The layer must hold one {role} projection, called {names}, but it holds {len(found)}.")
    return found[0]


def _packed(layer: nn.Module) -> nn.Module | None:
    return next((m for path, m in layer.named_modules() if path.split(".")[-1] in PACKED and _is_linear(m)), None)


def _unpacked(layer: nn.Module) -> dict[str, Linear]:
    weight, bias = linear(_packed(layer))
    weights = weight.chunk(3)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    parts = dict(zip(("query", "key", "value"), zip(weights, biases, strict=True), strict=True))
    return {**parts, "output": linear(_only(layer, "output"))}


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (hasattr(module, "nf") and getattr(module.weight, "ndim", 0) == 2)


def _is_square(module: nn.Module) -> bool:
    height, width = linear(module)[0].shape
    return height == width


def linear(module: Any) -> Linear:
    """Return weight [out, in] and bias; the Conv1D of GPT-2 holds its weight the other way round."""
    weight = module.weight if isinstance(module, nn.Linear) else module.weight.T
    return weight.detach(), None if module.bias is None else module.bias.detach()


def _heads(layer: nn.Module) -> int:
    for module in layer.modules():
        for holder in (module, getattr(module, "config", None)):
            for name in HEADS:
                if isinstance(heads := getattr(holder, name, None), int):
                    return heads
    raise InputError("The layer does not say how many heads it has: give num_heads.")


def _module(parts: dict[str, Linear], heads: int, kdim: int, vdim: int) -> nn.MultiheadAttention:
    like = parts["query"][0]
    bias = any(part[1] is not None for part in parts.values())
    # Made without numbers, because initialising would draw from the global generator.
    made = nn.MultiheadAttention(like.shape[1], heads, bias=bias, kdim=kdim, vdim=vdim, batch_first=True, device="meta")
    made = made.to_empty(device=like.device).to(like.dtype).requires_grad_(False).eval()
    filled = {role: _zeros_for(part) for role, part in parts.items()}
    if made._qkv_same_embed_dim:
        made.in_proj_weight.copy_(torch.cat([filled[role][0] for role in ("query", "key", "value")]))
    else:
        for role in ("query", "key", "value"):
            getattr(made, f"{role[0]}_proj_weight").copy_(filled[role][0])
    made.out_proj.weight.copy_(filled["output"][0])
    if bias:
        made.in_proj_bias.copy_(torch.cat([filled[role][1] for role in ("query", "key", "value")]))
        made.out_proj.bias.copy_(filled["output"][1])
    return made


def _zeros_for(part: Linear) -> tuple[Tensor, Tensor]:
    weight, bias = part
    return weight, weight.new_zeros(len(weight)) if bias is None else bias
