"""The projections of a layer, whichever way `nn.MultiheadAttention` holds them."""

from __future__ import annotations

from torch import Tensor, nn


def projections(layer: nn.MultiheadAttention) -> dict[str, tuple[Tensor, Tensor | None]]:
    """Return weight and bias of the projections `q`, `k`, `v` and `out`, as views of the layer's parameters.

    The weights are [E, E], [E, kdim], [E, vdim] and [E, E], the biases [E] or None. One parameter `in_proj_weight`
    [3 · E, E] holds the first three where kdim and vdim are E.
    """
    packed = layer._qkv_same_embed_dim
    weights = (
        layer.in_proj_weight.chunk(3) if packed else (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    )
    biases = (None, None, None) if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    return {**dict(zip("qkv", zip(weights, biases, strict=True), strict=True)), "out": _of_output(layer)}


def _of_output(layer: nn.MultiheadAttention) -> tuple[Tensor, Tensor | None]:
    return layer.out_proj.weight, layer.out_proj.bias
