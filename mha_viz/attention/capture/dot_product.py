"""One call of `F.scaled_dot_product_attention`, which returns no weights, made into a record."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mha_viz.attention import sdpa
from mha_viz.attention.capture import hidden
from mha_viz.attention.capture.multihead import difference, rounding
from mha_viz.attention.capture.random_state import RandomState
from mha_viz.attention.capture.store import Store, copy_of
from mha_viz.attention.capture.watch import unwatched
from mha_viz.attention.records import LayerAttention, Passed


@dataclass(frozen=True, eq=False)
class DotProduct:
    """The function's arguments.

    Attributes:
        query: [..., H, L, D], or [N, L, D] of one head, or [L, D].
        key: [..., H, S, D], with fewer heads where `grouped`.
        value: [..., H, S, D_v], likewise.
        attn_mask: True shows, a float is added.
        dropout: The probability.
        is_causal: Hide the future.
        scale: Of the scores; 1 / sqrt(D) if None.
        grouped: `enable_gqa`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    attn_mask: Tensor | None
    dropout: float
    is_causal: bool
    scale: float | None
    grouped: bool

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> DotProduct:
        """Read the arguments as the function has them."""
        return cls(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, L and S; leading dimensions count as batch, and without heads there is one."""
        lead = self._lead
        heads = lead[-1] if len(lead) > 1 else 1
        return lead.numel() // heads, heads, self.query.shape[-2], self.key.shape[-2]

    @property
    def _lead(self) -> torch.Size:
        """The dimensions of the weights before the last two: heads last, if there are any."""
        lead = self.query.shape[:-2]
        return lead if self.grouped else torch.Size(np.broadcast_shapes(lead, self.key.shape[:-2]))

    def record(self, store: Store, name: str, output: Tensor, random: RandomState | None) -> None:
        """Add a record of the call.

        Args:
            store: Where to.
            name: Of the module that called.
            output: What the function returned.
            random: The state before it, where dropout was active.
        """
        if any(x.is_nested or x.is_meta for x in (self.query, self.key, self.value)) or not self.query.numel():
            return
        shape = self.shape
        label = store.place(name, shape, self.query.dtype)
        if label is None:
            return
        weights = self._weights(random)
        change = difference(self._attended(weights), output)
        if change > rounding(output):
            store.note(f"{label} gives an output that differs by up to {change:.3g} from that of the weights shown.")
        told = hidden.by_function(self._broadcastable(self.attn_mask), is_causal=self.is_causal, shape=shape)
        attn_mask, padding = hidden.as_masks(told, shape)
        record = LayerAttention(
            name=label,
            weights=copy_of(weights.reshape(shape)),
            output=copy_of(output.reshape(*shape[:3], -1).transpose(1, 2).flatten(2)),
            returned=None,
            output_change=change,
            attn_mask=attn_mask,
            key_padding_mask=padding,
            dropout=self.dropout,
            how="function",
            passed=Passed("sdpa", self._broadcastable(store.mask(self.attn_mask)), None, self.is_causal),
        )
        store.add(record, crossed=shape[2] != shape[3], device=output.device)

    def _weights(self, random: RandomState | None) -> Tensor:
        with unwatched(), torch.no_grad():
            return sdpa.weights(
                self.query.detach(),
                self.key.detach(),
                columns=self.value.shape[-1],
                random=random.again if random else nullcontext,
                attn_mask=self.attn_mask,
                is_causal=self.is_causal,
                dropout_p=self.dropout,
                scale=self.scale,
                enable_gqa=self.grouped,
            )

    def _attended(self, weights: Tensor) -> Tensor:
        value = self.value.detach()
        if self.grouped:
            value = value.repeat_interleave(weights.shape[-3] // value.shape[-3], dim=-3)
        with unwatched(), torch.no_grad():
            return weights.to(value.dtype) @ value

    def _broadcastable(self, mask: Tensor | None) -> Tensor | None:
        """Return the mask, or a copy of it, as broadcastable to [N, H, L, S], with two dimensions or more."""
        lead = self._lead
        if mask is None or mask.dim() == 2:
            return mask
        if mask.dim() == 1:
            return mask[None]
        if len(lead) == 1:
            return mask.unsqueeze(1)
        if mask.dim() == 3 or len(lead) == 2:
            return mask
        return mask.detach().expand(*lead[:-1], *mask.shape[-3:]).reshape(-1, *mask.shape[-3:])
