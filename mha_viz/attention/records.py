"""What happened when attention ran. Pages and figures know these records, not where they came from.

Letters: N batch, H heads, L query length, S key length, E embed_dim, D head_dim. S counts the extra columns of
`add_bias_kv` and `add_zero_attn` wherever weights are concerned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mha_viz.inputs.assemble import Inputs
from mha_viz.masks.encode import allowed_from, allowed_from_padding
from mha_viz.scenario import Scenario


@dataclass(frozen=True, eq=False)
class LayerAttention:
    """One attention module's forward.

    Attributes:
        name: Where the module stands, such as `self_attn` or `layers.0.self_attn`.
        weights: [N, H, L, S] per head, as the module returned it; on the run's device, detached.
        output: [N, L, E] of the call as it was asked for.
        returned: The second value of the call as it was asked for: None, [N, L, S], or `weights` itself.
        output_change: Largest difference between `output` and the output of the call that gave `weights`.
        attn_mask: As passed to the module: [L, S], [N·H, L, S] or None.
        key_padding_mask: As passed to the module: [N, S] or None.
        extra_keys: Labels of the columns that `add_bias_kv` and `add_zero_attn` appended, in order.
        dropout: Probability that was active in this forward (0 in eval mode).
    """

    name: str
    weights: Tensor
    output: Tensor
    returned: Tensor | None
    output_change: float
    attn_mask: Tensor | None
    key_padding_mask: Tensor | None
    extra_keys: tuple[str, ...] = ()
    dropout: float = 0.0

    @cached_property
    def average(self) -> Tensor:
        """[N, L, S]: the mean over heads, as `average_attn_weights=True` returns it."""
        return self.weights.mean(dim=1)

    @cached_property
    def allowed(self) -> Tensor:
        """Bool, broadcastable to [N, H, L, S]: True where neither mask hides the key from the query."""
        return self.attn_allowed & self.key_allowed

    @cached_property
    def attn_allowed(self) -> Tensor:
        """Bool, broadcastable to [N, H, L, S]: what `attn_mask` alone allows."""
        n, h, length, keys = self.weights.shape
        if self.attn_mask is None:
            return torch.ones((1, 1, length, keys), dtype=torch.bool, device=self.weights.device)
        return self._with_extra(allowed_from(self.attn_mask, batch_size=n, num_heads=h))

    @cached_property
    def key_allowed(self) -> Tensor:
        """Bool, broadcastable to [N, H, L, S]: what `key_padding_mask` alone allows."""
        if self.key_padding_mask is None:
            return torch.ones((1, 1, 1, self.weights.shape[-1]), dtype=torch.bool, device=self.weights.device)
        return self._with_extra(allowed_from_padding(self.key_padding_mask))

    def _with_extra(self, allowed: Tensor) -> Tensor:
        """Append the extra columns, which no mask hides."""
        return torch.nn.functional.pad(allowed, (0, len(self.extra_keys)), value=True)


@dataclass(frozen=True, eq=False)
class Run:
    """A forward that really ran, with all its attention layers.

    Attributes:
        layers: One record for each attention module that ran, in call order.
        inputs: What the first layer was given, on the CPU in float32, with its token labels.
        scenario: The Scenario it came from, or None.
        device: Where it ran, such as `cpu`.
        dtype: Such as `float32`.
        seconds: Duration of the forward that gave the weights, device synchronised.
        peak_bytes: Peak memory of that forward as the device measured it, or None where it can't (CPU).
    """

    layers: tuple[LayerAttention, ...]
    inputs: Inputs
    scenario: Scenario | None
    device: str
    dtype: str
    seconds: float
    peak_bytes: int | None = None

    def query_tokens(self, item: int = 0) -> tuple[str, ...]:
        """Return the L query labels of one batch item."""
        return self.inputs.query_tokens[item]

    def key_tokens(self, item: int = 0, layer: int = 0) -> tuple[str, ...]:
        """Return the S key labels of one batch item, extra columns included."""
        return (*self.inputs.key_tokens[item], *self.layers[layer].extra_keys)
