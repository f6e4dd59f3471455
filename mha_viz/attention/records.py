"""What happened when one layer's attention ran: records that pages and figures know, and not where they came from.

Letters: N batch, H heads, L query length, S key length, E embed_dim, D head_dim. S counts the extra columns of
`add_bias_kv` and `add_zero_attn` wherever weights are concerned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from mha_viz.attention import windows
from mha_viz.errors import CapacityError
from mha_viz.inputs.assemble import Tokens
from mha_viz.masks.encode import Api, allowed_from, allowed_from_padding

if TYPE_CHECKING:
    from mha_viz.attention.held import HeldAttention
    from mha_viz.attention.stats import AttentionStats
    from mha_viz.attention.streamed import StreamedAttention

Pool = Literal["max", "mean"]
How = Literal["module", "function", "softmax"]


@dataclass(frozen=True, eq=False)
class Passed:
    """The masks of a call exactly as its caller passed them, for the doctor.

    Attributes:
        api: Whose arguments they are: "mha" for the module, "sdpa" for `F.scaled_dot_product_attention`.
        attn_mask: Of any shape and dtype, or None; that of a captured call of the function as it broadcasts to
            [N, H, L, S].
        key_padding_mask: Likewise; the function has no such argument.
        is_causal: The argument of that name.
    """

    api: Api
    attn_mask: Tensor | None
    key_padding_mask: Tensor | None = None
    is_causal: bool = False


@dataclass(frozen=True, eq=False)
class Call:
    """What went into a layer, kept so that every step inside it can be computed again.

    Attributes:
        module: A copy of the layer with its parameters; it must not be changed.
        query: [N, L, E], whatever `batch_first` says.
        key: [N, S, kdim]; the same object as `query` in self-attention.
        value: [N, S, vdim]; the same object as `key` unless it was given separately.
    """

    module: nn.MultiheadAttention
    query: Tensor
    key: Tensor
    value: Tensor


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """One attention module's forward.

    Attributes:
        name: Where the module stands, such as `self_attn` or `layers.0.self_attn`.
        weights: [N, H, L, S] per head, as the module returned it; on the run's device, detached. Where `streamed` is
            there it is on the device "meta": a shape and a dtype without numbers.
        output: [N, L, E] of the call as it was asked for; None where only a softmax was seen, or where `streamed` is.
        returned: The second value of the call as it was asked for: None, [N, L, S], or `weights` itself.
        output_change: Largest difference between `output` and the output of the call that gave `weights`; inf where
            just one of them is NaN.
        attn_mask: What hid keys from queries, in the module's form: [L, S], [N·H, L, S] or None.
        key_padding_mask: What hid keys from all queries, in the module's form: [N, S] or None.
        extra_keys: Labels of the columns that `add_bias_kv` and `add_zero_attn` appended, in order.
        dropout: Probability that was active in this forward (0 in eval mode).
        how: Where the weights come from: returned by `nn.MultiheadAttention` ("module"), read off
            `F.scaled_dot_product_attention` ("function"), or seen as a softmax's result ("softmax").
        passed: The masks as the caller passed them, where `attn_mask` and `key_padding_mask` are not just that.
        query_tokens: L labels for each of the N items; None where they are those of the run's inputs.
        key_tokens: Likewise for the keys, without the extra ones.
        heads: Which of the module's heads these are, in order; None for all.
        items: Which of the batch's items these are, in order; None for all.
        call: What went in, where it was kept.
        streamed: What computes any part of the weights when it is looked at, where they are too many to be held.
    """

    name: str
    weights: Tensor
    output: Tensor | None
    returned: Tensor | None
    output_change: float
    attn_mask: Tensor | None
    key_padding_mask: Tensor | None
    extra_keys: tuple[str, ...] = ()
    dropout: float = 0.0
    how: How = "module"
    passed: Passed | None = None
    query_tokens: Tokens | None = None
    key_tokens: Tokens | None = None
    heads: tuple[int, ...] | None = None
    items: tuple[int, ...] | None = None
    call: Call | None = None
    streamed: StreamedAttention | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, L and S of the weights."""
        n, heads, length, keys = self.weights.shape
        return n, heads, length, keys

    @property
    def held(self) -> Tensor:
        """`weights`, where there are numbers in them.

        Raises:
            CapacityError: They are too many to be held.
        """
        if self.streamed is None:
            return self.weights
        raise CapacityError(
            f"All weights {list(self.shape)} at once would need {self.weights.nbytes / 1e9:,.3g} GB, more than is "
            "held: ask for a part with window(), row(), overview() or stats(), or reduce query_len.",
            field="query_len",
        )

    @cached_property
    def _answers(self) -> HeldAttention | StreamedAttention:
        from mha_viz.attention.held import HeldAttention

        return self.streamed or HeldAttention(self)

    def window(self, head: int, rows: slice, cols: slice, item: int = 0) -> Tensor:
        """Return the exact weights of some queries and keys, [rows, cols]; slices count as for a list.

        Raises:
            ScenarioError: There is no such head or item, or a slice has a step.
        """
        return self._answers.window(head, rows, cols, item)

    def row(self, head: int, query: int, item: int = 0) -> Tensor:
        """Return the exact weights of one query over all keys, [S].

        Raises:
            ScenarioError: There is no such head, item or query.
        """
        windows.check_index("query", query, self.shape[2])
        return self.window(head, slice(query, query + 1), slice(None), item)[0]

    def overview(self, head: int, size: int = 512, pool: Pool = "max", item: int = 0) -> Tensor:
        """Return one head's weights pooled over blocks of ceil(L / size) × ceil(S / size) cells.

        Rows with a NaN are left out; a block that holds nothing else is NaN.

        Args:
            head: Which head.
            size: Rows and columns of the result at most, from 64 to 4,096.
            pool: "max" keeps every single large weight in sight; "mean" keeps sums.
            item: Which item of the batch.

        Returns:
            [rows, columns]; it must not be changed.

        Raises:
            ScenarioError: There is no such head, item, size or pool.
        """
        return self._answers.overview(head, size, pool, item)

    def stats(self, item: int = 0) -> AttentionStats:
        """Return the statistics of one batch item's heads, and of each of their rows.

        Raises:
            ScenarioError: There is no such item.
        """
        return self._answers.stats(item)

    def head_name(self, head: int) -> str:
        """Return what a head is called, such as `head 3`, by its number in the module."""
        return f"head {head if self.heads is None else self.heads[head]}"

    @cached_property
    def average(self) -> Tensor:
        """[N, L, S]: the mean over heads, as `average_attn_weights=True` returns it."""
        return self.held.mean(dim=1)

    @cached_property
    def allowed(self) -> Tensor:
        """Bool, broadcastable to [N, H, L, S]: True where neither mask hides the key from the query."""
        return self.attn_allowed & self.key_allowed

    @cached_property
    def attn_allowed(self) -> Tensor:
        """Bool, broadcastable to [N, H, L, S]: what `attn_mask` alone allows."""
        n, h, length, keys = self.held.shape
        if self.attn_mask is None:
            return torch.ones((1, 1, length, keys), dtype=torch.bool, device=self.weights.device)
        return self._with_extra(allowed_from(self.attn_mask, batch_size=n, num_heads=h))

    @cached_property
    def key_allowed(self) -> Tensor:
        """Bool, broadcastable to [N, H, L, S]: what `key_padding_mask` alone allows."""
        if self.key_padding_mask is None:
            return torch.ones((1, 1, 1, self.held.shape[-1]), dtype=torch.bool, device=self.weights.device)
        return self._with_extra(allowed_from_padding(self.key_padding_mask))

    def _with_extra(self, allowed: Tensor) -> Tensor:
        """Append the extra columns, which no mask hides."""
        return torch.nn.functional.pad(allowed, (0, len(self.extra_keys)), value=True)
