"""What a streamed layer is computed from, and the scores of any block of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.attention.streamed.plan import Tile
from mha_viz.attention.streamed.product import product
from mha_viz.attention.streamed.sight import Sight

# Stands for "masked" in scores: its power is 0, and unlike -inf it can be multiplied by that.
MASKED_SCORE = -1e30
BITS = 1 / math.log(2.0)  # in one natural unit; powers of 2 are computed three times as fast as those of e

Hidden = Sequence[tuple[slice, Tensor]]  # slices of a tile's keys, and what is masked there, bool [keys, rows]


@dataclass(frozen=True, eq=False)
class Operands:
    """Projected tensors of one layer and what it may look at.

    Attributes:
        query: [N, H, L, D], divided by sqrt(D) first as `nn.MultiheadAttention` does, so that scores round alike.
        key: [N, H, S, D], extra keys included.
        value: [N, H, S, D], or None where no output will be asked for.
        sight: Masks, bias and padding.
    """

    query: Tensor
    key: Tensor
    value: Tensor | None
    sight: Sight

    @classmethod
    def of(cls, query: Tensor, key: Tensor, value: Tensor | None, sight: Sight) -> Operands:
        """Return those of projected tensors, in float64 if they are and in float32 otherwise."""
        dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
        scaled = query.detach().to(dtype) * math.sqrt(1 / query.shape[-1])
        own = None if value is None else value.detach().to(dtype).contiguous()
        return cls(scaled.contiguous(), key.detach().to(dtype).contiguous(), own, sight)

    def block(self, item: int, head: int, rows: slice, cols: slice) -> Tensor:
        """Return the scores of a block, [rows, cols]; masked ones are `MASKED_SCORE`."""
        scores = product(self.query[item, head, rows], self.key[item, head, cols])
        query, key = (
            torch.arange(span.start, span.stop, device=scores.device) for span in (rows, cols)
        )  # the spans are resolved: no None, no negative ends
        query, key = query[:, None], key[None, :]
        self.add_bias(scores, item, head, query, key)
        return scores.masked_fill_(~self.sight.allowed(item, head, query, key), MASKED_SCORE)

    def add_bias(self, scores: Tensor, item: int, head: int, query: Tensor, key: Tensor) -> None:
        """Add the bias to scores in place; what it makes -inf becomes `MASKED_SCORE`."""
        added = self.sight.added(item, head, query, key, scores.dtype)
        if added is not None:
            scores.add_(added).clamp_(min=MASKED_SCORE)

    def tile(self, item: int, head: int, rows: tuple[int, int], tile: Tile, hidden: Hidden) -> Tensor:
        """Return the scores of a tile, [keys, rows]: reductions over keys are fast so."""
        scores = product(self.key[item, head, tile.start : tile.stop], self.query[item, head, slice(*rows)])
        if self.sight.bias is not None:
            query, key = (torch.arange(*span, device=scores.device) for span in (rows, (tile.start, tile.stop)))
            self.add_bias(scores, item, head, query[None, :], key[:, None])
        for where, masked in hidden:
            scores[where].masked_fill_(masked, MASKED_SCORE)
        return scores
