"""What went into a pretrained layer, and the layer as a module, kept only where that module proves to be the layer."""

from __future__ import annotations

from collections.abc import Mapping
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from mha_viz.attention.records import Call
from mha_viz.errors import InputError
from mha_viz.pretrained.listening import Heard
from mha_viz.pretrained.projections import as_multihead_attention, linear, linears

TOLERANCE = 1e-4
MAX_BYTES = 64 * 2**20
"""Largest layer of which a copy is made, in bytes."""

CROSS_INPUTS = ("key_value_states", "encoder_hidden_states")

_copies: WeakKeyDictionary[nn.Module, nn.MultiheadAttention] = WeakKeyDictionary()


def call_of(
    heard: Heard, parent: nn.Module, masks: Mapping[str, Tensor | None], weights: Tensor, *, cross: bool
) -> tuple[Call | None, Tensor | None]:
    """Return what went into an attention, with its copy as `nn.MultiheadAttention`, and what came out.

    Args:
        heard: The call.
        parent: The module around it, which in BERT holds the output projection.
        masks: `attn_mask` and `key_padding_mask` in the module's form.
        weights: [N, H, L, S] that the model's own attention gave.
        cross: Whether keys come from elsewhere than queries.

    Returns:
        The call, or None unless the copy gives the same weights to 1e-4; and the model's own output of the attention
        [N, L, E], or None unless the copy gives the same output to 1e-4, relative to its largest number.
    """
    query, key = _given(heard, cross)
    copy = _copy(heard.module, parent, weights.shape[1])
    if copy is None or query is None or key is None or (query.shape[-1], key.shape[-1]) != (copy.embed_dim, copy.kdim):
        return None, None
    output, again = copy(query, key, key, need_weights=True, average_attn_weights=False, **masks)
    if not _same(again, weights, 1.0):
        return None, None
    scale = max(1.0, float(output.abs().max()))
    candidates = _outputs(heard, parent)
    return Call(copy, query, key, key), next((own for own in candidates if _same(own, output, scale)), None)


def _given(heard: Heard, cross: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return query and key of a call, [N, L, E] and [N, S, E]: in self-attention the same object."""
    query = next((a for a in heard.arguments.values() if isinstance(a, Tensor) and a.dim() == 3), None)
    if not cross:
        return query, query
    return query, next((key for name in CROSS_INPUTS if (key := heard.arguments.get(name)) is not None), None)


def _copy(layer: nn.Module, parent: nn.Module, heads: int) -> nn.MultiheadAttention | None:
    """Return the copy of a layer, made once as long as its model lives; None where it can't be one."""
    for holder in (layer, parent):
        if layer in _copies or sum(parameter.nbytes for parameter in holder.parameters()) > MAX_BYTES:
            break
        try:
            _copies[layer] = as_multihead_attention(holder, heads)
        except InputError:
            continue
    return _copies.get(layer)


def _outputs(heard: Heard, parent: nn.Module) -> list[Tensor]:
    """Return what may be the attention's output: what it returned, or that through the projection standing outside."""
    first = heard.returned[0]
    if not isinstance(first, Tensor) or first.dim() != 3:
        return []
    outside = linears(parent, "output")
    fits = len(outside) == 1 and linear(outside[0])[0].shape[1] == first.shape[-1]
    return [first, outside[0](first)] if fits else [first]


def _same(ours: Tensor, theirs: Tensor, scale: float) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= TOLERANCE * scale)
