"""What a head of a batch item may look at, and what is added to its scores, for any block of positions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mha_viz.attention.streamed.bounds import Bounds, Range
from mha_viz.masks.base import Mask
from mha_viz.masks.bias import ScoreBias
from mha_viz.masks.evaluation import Evaluator, FloatEvaluator, Value
from mha_viz.masks.index import k as key_index

NONE, SOME, ALL = 0, 1, 2  # what a mask allows of a block


@dataclass(frozen=True)
class Sight:
    """The mask and the score bias of one layer; its extra keys, the last ones, are never hidden and get no bias.

    Attributes:
        mask: What each query may attend to.
        bias: Added to the scores, or None.
        key_lengths: How many keys of each item are real, or None for all.
        sizes: N, H, L and S, the extra keys not counted.
        extra: How many extra keys there are.
    """

    mask: Mask
    bias: ScoreBias | None
    key_lengths: tuple[int, ...] | None
    sizes: tuple[int, int, int, int]
    extra: int

    @property
    def by_head(self) -> bool:
        """Whether the mask is not the same for all heads."""
        return "h" in self.mask.variables

    def alike(self, heads: Iterable[int]) -> list[list[int]]:
        """Return heads in groups that one mask goes for."""
        return [[head] for head in heads] if self.by_head else [list(heads)]

    def hides_nothing(self, item: int, heads: Iterable[int]) -> bool:
        """Return whether it is certain that the heads may look at every key."""
        _, _, length, own = self.sizes
        queries, keys = ((torch.tensor(0), torch.tensor(count - 1)) for count in (length, own + self.extra))
        return all(int(self.kinds(item, group[0], queries, keys)) == ALL for group in self.alike(heads))

    def classes(self, item: int, head: int, queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]) -> Tensor:
        """Return `NONE`, `SOME` or `ALL` for all blocks of a grid, int8 [blocks of keys, blocks of queries]."""
        first, last = keys
        return self.kinds(item, head, queries, (first[:, None], last[:, None]))

    def kinds(self, item: int, head: int, queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor]) -> Tensor:
        """Return `NONE`, `SOME` or `ALL` for blocks, int8 of the shape that their ends broadcast to.

        A block said to be `SOME` may be one of the others; the other two are certain.

        Args:
            item: Index of the batch item.
            head: Index of the head.
            queries: First and last query of each block.
            keys: First and last key of each block.
        """
        own = self.sizes[3]
        ranges = {
            **{name: Range.exactly(value) for name, value in self._fixed(item, head).items()},
            "q": Range(*queries),
            "k": Range(*(end.clamp(max=own - 1) for end in keys)),
        }
        reading = Bounds(ranges)
        found = self._of_item(item).fold(reading)
        # torch.broadcast_shapes would import sympy, which takes half a second.
        shape = np.broadcast_shapes(queries[0].shape, keys[0].shape)
        sure, ever = ((part & torch.tensor(True)).expand(shape) for part in (found.low, found.high))
        unsure = reading.undefined.expand(shape)
        first_extra, last_extra = (end >= own for end in keys)
        sure = (sure | first_extra) & ~unsure
        return (sure.to(torch.int8) + (ever | unsure | last_extra).to(torch.int8)).contiguous()

    def allowed(self, item: int, head: int, query: Tensor, key: Tensor) -> Tensor:
        """Return what is allowed: bool, of the shape that the int64 tensors `query` and `key` broadcast to.

        Raises:
            MaskError: The mask divides by zero at one of the positions.
        """
        own = self.sizes[3]
        values: dict[str, Value] = {**self._fixed(item, head), "q": query, "k": key.clamp(max=own - 1)}
        found = torch.as_tensor(self._of_item(item).fold(Evaluator(values)), device=query.device)
        if self.extra:
            found = found | (key >= own)
        return found.expand(np.broadcast_shapes(query.shape, key.shape))

    def added(self, item: int, head: int, query: Tensor, key: Tensor, dtype: torch.dtype) -> Tensor | None:
        """Return the bias likewise, as a floating tensor that broadcasts to that shape; None where there is none."""
        if self.bias is None:
            return None
        own, device = self.sizes[3], query.device
        where = torch.device("cpu") if device.type == "mps" else device
        values: dict[str, Value] = {**self._fixed(item, head), "q": query.to(where), "k": key.to(where)}
        found = torch.as_tensor(self.bias.expression.fold(FloatEvaluator(values, where)))
        found = found.to(dtype).to(device)
        return found.masked_fill(key >= own, 0.0) if self.extra else found

    def _fixed(self, item: int, head: int) -> dict[str, int]:
        return {"b": item, "h": head, **dict(zip("NHLS", self.sizes, strict=True))}

    def _of_item(self, item: int) -> Mask:
        if self.key_lengths is None or self.key_lengths[item] >= self.sizes[3]:
            return self.mask
        return self.mask & (key_index < self.key_lengths[item])
