"""A case: the masks as they would be passed to torch, and what is known about the call."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from mha_viz.doctor import reading
from mha_viz.doctor.reading import Sizes, Values
from mha_viz.doctor.resemblance import opposite_of
from mha_viz.errors import MaskError
from mha_viz.masks.base import Mask
from mha_viz.masks.encode import Api


@dataclass(frozen=True, eq=False, kw_only=True)
class Case:
    """One call of an attention function, as far as it is known.

    Attributes:
        attn_mask: As it would be passed, of any shape and dtype.
        key_padding_mask: As it would be passed, of any shape and dtype; True means padding.
        num_heads: H, or None where it is not known; so with the next three.
        query_len: L.
        key_len: S.
        batch_size: N.
        intent: What each query should be able to see. Without `b` in it, padding may hide more.
        is_causal: The argument of that name.
        api: "mha" for `nn.MultiheadAttention` and the layers built on it, "sdpa" for
            `F.scaled_dot_product_attention`.
        dtype: Of the query.
        query_shape: Shape of the query tensor as it is passed.
        batch_first: As the module was built, or None where it is not known.
        weights: [N, H, L, S] or averaged [N, L, S], as the call returned them; S counts extra columns.
        average_attn_weights: As passed to the call, or None where it is not known.
        dropout: The module's dropout probability.
        training: Whether the module is in training mode.
        add_bias_kv: As the module was built.
        add_zero_attn: As the module was built.

    Raises:
        MaskError: A mask has no cells or no dimensions, or floats of 8 bits or less.
    """

    attn_mask: Tensor | None = None
    key_padding_mask: Tensor | None = None
    num_heads: int | None = None
    query_len: int | None = None
    key_len: int | None = None
    batch_size: int | None = None
    intent: Mask | None = None
    is_causal: bool = False
    api: Api = "mha"
    dtype: torch.dtype = torch.float32
    query_shape: tuple[int, ...] | None = None
    batch_first: bool | None = None
    weights: Tensor | None = None
    average_attn_weights: bool | None = None
    dropout: float = 0.0
    training: bool = False
    add_bias_kv: bool = False
    add_zero_attn: bool = False

    def __post_init__(self) -> None:
        for name in ("attn_mask", "key_padding_mask"):
            mask: Tensor | None = getattr(self, name)
            if mask is not None and not (mask.dim() and mask.numel()):
                raise MaskError(
                    f"{name} must have at least one cell and one dimension, got the shape {tuple(mask.shape)}"
                )
            if mask is not None and mask.is_floating_point() and mask.dtype.itemsize < 2:
                raise MaskError(f"{name} must hold bools, integers or floats of 16 bits or more, got {mask.dtype}")

    def but(self, **changes: Any) -> Case:
        """Return the same case with some attributes changed."""
        return replace(self, **changes)

    @cached_property
    def sizes(self) -> Sizes:
        """N, H, L, S: given, or read off the masks; None where neither tells."""
        return reading.sizes(self)

    @cached_property
    def attn_values(self) -> Values | None:
        """The numbers in a floating `attn_mask`; None for another dtype."""
        return reading.values(self.attn_mask)

    @cached_property
    def padding_values(self) -> Values | None:
        """The numbers in a floating `key_padding_mask`; None for another dtype."""
        return reading.values(self.key_padding_mask)

    @cached_property
    def attn_allowed(self) -> Tensor | None:
        """What `attn_mask` is meant to allow, bool [1 or N, 1 or H, L, S]; None where its shape can't be read.

        Finite penalties and integers count as they were meant; a mask that is not there allows everything.
        """
        return reading.attn_allowed(self)

    @cached_property
    def padding_allowed(self) -> Tensor | None:
        """What `key_padding_mask` is meant to allow, bool [N, 1, 1, S]; None without a mask of shape (N, S)."""
        return reading.padding_allowed(self)

    @cached_property
    def intended_attn(self) -> Tensor | None:
        """What the intent asks of `attn_mask`, bool [1 or N, 1 or H, L, S]; None where that is not known."""
        return reading.intended(self, self.intents[0])

    @cached_property
    def intended_padding(self) -> Tensor | None:
        """What the intent asks of `key_padding_mask`, bool [N, 1, 1, S]; None where it says nothing of it."""
        return reading.intended(self, self.intents[1], rows=slice(0, 1))

    @cached_property
    def intents(self) -> tuple[Mask | None, Mask | None]:
        """The intent's part for `attn_mask` and its part for `key_padding_mask`."""
        return reading.split(self.intent) if self.key_padding_mask is not None else (self.intent, None)

    @cached_property
    def empty_rows(self) -> Tensor | None:
        """Bool [1 or N, 1 or H, L]: rows that no key is left for; None where the shapes can't be read."""
        return reading.empty_rows(self.attn_allowed, self.padding_allowed)

    @cached_property
    def looks_inverted(self) -> str | None:
        """The known pattern that `attn_mask` seems to be the opposite of; None with an intent, or where it is none."""
        if self.attn_mask is None or self.attn_allowed is None or self.intent is not None:
            return None
        return opposite_of(self.attn_allowed)

    @property
    def sees_extra_keys(self) -> bool:
        """Whether the module appends keys that no mask can hide."""
        return self.add_bias_kv or self.add_zero_attn
