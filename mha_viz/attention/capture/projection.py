"""The call of `F.multi_head_attention_forward` that gives a module's weights.

It is what `nn.MultiheadAttention` calls off its fast path. Called directly, that path needs no closing: no gradients,
no hooks, no switch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.capture import nested
from mha_viz.attention.capture.watch import unwatched
from mha_viz.attention.records import Call, Passed

PARAMETERS = ("in_proj_weight", "in_proj_bias", "bias_k", "bias_v")
OWN_PARAMETERS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


@dataclass(frozen=True, eq=False)
class Projection:
    """Everything that decides the weights of one call.

    Attributes:
        query: [L, N, E], or [L, E] without a batch.
        key: [S, N, kdim]; the same object as `query` where the caller gave one.
        value: [S, N, vdim], likewise.
        masks: attn_mask and key_padding_mask as they reached the call, and the hint.
        layer: The other arguments of the function.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    masks: Passed
    layer: dict[str, Any]

    @classmethod
    def of_module(cls, module: nn.MultiheadAttention, given: dict[str, Any]) -> Projection:
        """Read the arguments that `module` was given, by name."""
        masks = Passed("mha", given.get("attn_mask"), given.get("key_padding_mask"), bool(given.get("is_causal")))
        query, key, value = given["query"], given["key"], given["value"]
        if query.is_nested:  # on the fast path, where the three are one
            query = key = value = nested.padded(query)
            masks = Passed("mha", None, nested.padding(given["query"], query.shape[1]))
        if module.batch_first and query.dim() == 3:
            turned = {id(x): x.transpose(0, 1) for x in (query, key, value)}
            query, key, value = (turned[id(x)] for x in (query, key, value))
        layer = {name: getattr(module, name) for name in (*PARAMETERS, *OWN_PARAMETERS)} | {
            "embed_dim_to_check": module.embed_dim,
            "num_heads": module.num_heads,
            "add_zero_attn": module.add_zero_attn,
            "dropout_p": module.dropout,
            "out_proj_weight": module.out_proj.weight,
            "out_proj_bias": module.out_proj.bias,
            "training": module.training,
            "use_separate_proj_weight": not module._qkv_same_embed_dim,
        }
        return cls(query, key, value, masks, layer)

    @property
    def batched(self) -> bool:
        """Whether there is a batch dimension."""
        return self.query.dim() == 3

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, L and S of the weights."""
        n = self.query.shape[1] if self.batched else 1
        return n, self.layer["num_heads"], len(self.query), len(self.key) + len(self.extra_keys)

    @property
    def extra_keys(self) -> tuple[str, ...]:
        """Labels of the columns that the layer appends."""
        return ("bias_k",) * (self.layer["bias_k"] is not None) + ("zero",) * bool(self.layer["add_zero_attn"])

    @property
    def dropout(self) -> float:
        """The probability that is active."""
        return self.layer["dropout_p"] if self.layer["training"] else 0.0

    @property
    def crossed(self) -> bool:
        """Whether the keys are another sequence than the queries; equal ones in two objects are not."""
        if self.query is self.key:
            return False
        return self.query.shape != self.key.shape or not torch.equal(self.query, self.key)

    def masked(self, attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Projection:
        """Return the same call with other masks, heeded as they are."""
        return replace(self, masks=Passed("mha", attn_mask, key_padding_mask))

    def weights(self, random: Callable[[], AbstractContextManager[None]]) -> tuple[Tensor, Tensor]:
        """Return the output [N, L, E] and the weights [N, H, L, S] of the explicit path, which ignores the hint.

        Args:
            random: Makes the context in which dropout draws.
        """
        with unwatched(), torch.no_grad(), random():
            output, weights = F.multi_head_attention_forward(
                self.query,
                self.key,
                self.value,
                attn_mask=self.masks.attn_mask,
                key_padding_mask=self.masks.key_padding_mask,
                need_weights=True,
                average_attn_weights=False,
                **self.layer,
            )
        assert weights is not None  # need_weights=True
        return self.as_batch(output), weights if self.batched else weights[None]

    def as_batch(self, tensor: Tensor) -> Tensor:
        """Return [L, N, E] or [L, E] as [N, L, E]."""
        return tensor.transpose(0, 1) if self.batched else tensor[None]

    def call(self, copied: Callable[[Tensor], Tensor], module: nn.MultiheadAttention) -> Call:
        """Return the inputs, copied, with a copy of the layer."""
        made = {id(x): copied(self.as_batch(x)) for x in (self.query, self.key, self.value)}
        return Call(module, made[id(self.query)], made[id(self.key)], made[id(self.value)])

    def module(self) -> nn.MultiheadAttention:
        """Return a layer of its own on the CPU with these parameters and no hooks, which records no gradients."""
        layer, dim = self.layer, self.layer["embed_dim_to_check"]
        parameters = {name: layer[name] for name in (*PARAMETERS, *OWN_PARAMETERS) if layer[name] is not None}
        separate: list[Tensor] = [parameters[name] for name in OWN_PARAMETERS if name in parameters]
        sizes = [weight.shape[1] for weight in separate[1:]] or [dim, dim]
        if separate and sizes == [dim, dim]:  # the module packs what it can
            parameters = {"in_proj_weight": torch.cat(separate)} | {
                name: parameter for name, parameter in parameters.items() if name not in OWN_PARAMETERS
            }
        copied = nn.MultiheadAttention(
            dim,
            layer["num_heads"],
            dropout=layer["dropout_p"],
            bias=layer["in_proj_bias"] is not None,
            add_bias_kv=layer["bias_k"] is not None,
            add_zero_attn=layer["add_zero_attn"],
            kdim=sizes[0],
            vdim=sizes[1],
            batch_first=True,
            device="meta",  # draws no random numbers
        )
        for name, parameter in parameters.items():
            setattr(copied, name, _frozen(parameter))
        copied.out_proj.weight = _frozen(layer["out_proj_weight"])
        bias = layer["out_proj_bias"]
        copied.out_proj.register_parameter("bias", None if bias is None else _frozen(bias))
        return copied.train(layer["training"])


def _frozen(tensor: Tensor) -> nn.Parameter:
    with torch.inference_mode(False), torch.no_grad():
        return nn.Parameter(tensor.detach().to("cpu", copy=True), requires_grad=False)
