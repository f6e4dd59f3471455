"""The stack of a Scenario, one of torch's own, and its forward with every attention call recorded.

Masks and inputs are handed over as torch names them: an encoder's source is the query; a decoder's target is the query
and its memory the key; `nn.Transformer` goes from the key, its source, to the query, its target.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.attention import memory
from mha_viz.attention.capture import capture
from mha_viz.attention.layer import padding_mask, placed, query_projection, seeded, shared_mask
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.timed import timed
from mha_viz.errors import InputError, ScenarioError
from mha_viz.inputs.assemble import PAD, Inputs
from mha_viz.scenario import DECODER, ENCODER, Scenario

Stack = nn.TransformerEncoder | nn.TransformerDecoder | nn.Transformer


def module(s: Scenario) -> Stack:
    """Return the stack of a Scenario, on its device, initialised as torch does after `torch.manual_seed(seed)`.

    `nn.TransformerEncoder` and `nn.TransformerDecoder` copy one layer, so their layers start with the same parameters;
    `nn.Transformer` draws all anew. `qk_scale` multiplies the query projection of every attention. As `layer.module`,
    it is made in float32 on the CPU and then moved.
    """
    with seeded(s.seed):
        made = _encoder(s) if s.stack == ENCODER else _decoder(s) if s.stack == DECODER else _transformer(s)
    with torch.no_grad():
        for attention in attentions(made):
            query_projection(attention).mul_(s.qk_scale)
    return made.to(device=s.device, dtype=getattr(torch, s.dtype)).train(s.training)


def constructor(s: Scenario) -> dict[str, Any]:
    """Return the arguments of `nn.TransformerEncoderLayer` and `nn.TransformerDecoderLayer`."""
    return {
        "d_model": s.embed_dim,
        "nhead": s.num_heads,
        "dim_feedforward": s.dim_feedforward or 4 * s.embed_dim,
        "dropout": s.dropout,
        "activation": s.activation,
        "batch_first": s.batch_first,
        "norm_first": s.norm_first,
        "bias": s.bias,
    }


# With nested tensors padded outputs are 0 and the hooks' weights end at the longest sample (pitfalls P12, P13).


def _encoder(s: Scenario, norm: nn.Module | None = None) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(**constructor(s))
    return nn.TransformerEncoder(layer, s.num_layers, norm, enable_nested_tensor=False)


def _decoder(s: Scenario, norm: nn.Module | None = None) -> nn.TransformerDecoder:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(**constructor(s)), s.num_layers, norm)


def _transformer(s: Scenario) -> nn.Transformer:
    """Return what `nn.Transformer` makes itself: two stacks that each end in a norm, all parameters drawn anew."""
    encoder, decoder = (make(s, nn.LayerNorm(s.embed_dim, bias=s.bias)) for make in (_encoder, _decoder))
    return nn.Transformer(
        s.embed_dim, s.num_heads, custom_encoder=encoder, custom_decoder=decoder, batch_first=s.batch_first
    )


def arguments(s: Scenario, inputs: Inputs) -> dict[str, Any]:
    """Return the keyword arguments of the stack's forward, on the Scenario's device and in its layout.

    Raises:
        InputError: The inputs hold a value of its own, or an encoder's a key, which a stack has no place for.
        ScenarioError: `tgt_padding` does not fit the batch.
    """
    check(s, inputs)
    tensors = placed(s, inputs)
    n, length, keys = *inputs.query.shape[:2], inputs.key.shape[1]
    own_mask = shared_mask(s, s.mask, s.score_bias, n, length, length)
    padding = padding_mask(s, inputs.key_lengths, keys)
    if s.stack == ENCODER:
        return {"src": tensors["query"], "mask": own_mask, "src_key_padding_mask": padding}
    target = {
        "tgt": tensors["query"],
        "tgt_mask": own_mask,
        "memory_mask": shared_mask(s, s.memory_mask, "", n, length, keys),
        "tgt_key_padding_mask": padding_mask(s, target_lengths(s, inputs), length),
        "memory_key_padding_mask": padding,
    }
    if s.stack == DECODER:
        return {"memory": tensors["key"], **target}
    src_mask = shared_mask(s, s.src_mask, "", n, keys, keys)
    return {"src": tensors["key"], "src_mask": src_mask, "src_key_padding_mask": padding, **target}


def check(s: Scenario, inputs: Inputs) -> None:
    """Refuse inputs that a stack has no place for.

    Raises:
        InputError: They hold a value of its own, or an encoder's a key.
    """
    if inputs.value is not inputs.key:
        raise InputError("A stack's memory is both key and value, so it takes no value of its own: leave it empty.")
    if s.stack == ENCODER and inputs.key is not inputs.query:
        raise InputError("An encoder attends to its query alone, so it takes no key of its own: leave it empty.")


def target_lengths(s: Scenario, inputs: Inputs) -> tuple[int, ...] | None:
    """Return the real length of each target of a decoder, or None where no target is padded.

    Raises:
        ScenarioError: `tgt_padding` does not fit the batch.
    """
    n, length = inputs.query.shape[:2]
    if s.tgt_padding == "none":
        return None
    if s.tgt_padding == "auto":
        real = tuple(sum(token != PAD for token in item) for item in inputs.query_tokens)
        return real if min(real) < length else None
    lengths = tuple(int(part) for part in s.tgt_padding.split(","))
    if len(lengths) != n or max(lengths) > length:
        count = f"{n} length{'s' if n > 1 else ''}"
        message = f"tgt_padding must give {count} (one for each batch item) from 0 to {length}, not {s.tgt_padding!r}."
        raise ScenarioError(message, field="tgt_padding")
    return lengths


def run(s: Scenario, inputs: Inputs) -> Run:
    """Run the stack of a Scenario and return one layer for each attention call; errors are those of `forward.run`.

    Every attention is asked for its weights, so what is shown is what was used, dropout included; torch's layers
    themselves ask for none, which `returned` says.
    """
    made, call = module(s), arguments(s, inputs)
    ask_for_weights(made)
    with capture(made, inside=True, limit_mb=memory.limit_bytes() / 2**20) as captured:
        _, seconds, peak = timed(s, f"nn.{type(made).__name__}", lambda: forward(s, made, call))
    found = captured.run()
    return replace(
        found,
        layers=tuple(_labelled(layer, s, inputs) for layer in found.layers),
        inputs=inputs,
        scenario=s,
        device=s.device,
        dtype=s.dtype,
        seconds=seconds,
        peak_bytes=peak,
        notes=(*_notes(s, made), *found.notes),
    )


def attentions(made: Stack) -> list[nn.MultiheadAttention]:
    """Return all attention modules of a stack."""
    return [part for part in made.modules() if isinstance(part, nn.MultiheadAttention)]


def ask_for_weights(made: Stack) -> None:
    """Have every attention of a stack called for its weights per head, for good."""

    def asked(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

    for attention in attentions(made):
        attention.register_forward_pre_hook(asked, with_kwargs=True)


def forward(s: Scenario, made: Stack, call: dict[str, Any]) -> Tensor:
    """Return the output [N, L, E] of a stack; dropout draws the same numbers for the same seed whatever ran before.

    Gradients stay on, which keeps torch's fast path closed.
    """
    with torch.enable_grad(), seeded(s.seed, s.device) if s.training and s.dropout else nullcontext():
        output: Tensor = made(**call).detach()
    return output if s.batch_first else output.transpose(0, 1)


def _labelled(layer: LayerAttention, s: Scenario, inputs: Inputs) -> LayerAttention:
    of_source = layer.name.startswith("encoder.")
    to_memory = of_source or layer.name.endswith(".multihead_attn")
    return replace(
        layer,
        returned=None,
        query_tokens=inputs.key_tokens if of_source else inputs.query_tokens,
        key_tokens=inputs.key_tokens if to_memory else inputs.query_tokens,
    )


def _notes(s: Scenario, made: Stack) -> tuple[str, ...]:
    if s.num_layers == 1 or isinstance(made, nn.Transformer):
        return ()
    name = type(made).__name__
    return (f"nn.{name} makes its {s.num_layers} layers as copies of one, so untrained they hold the same parameters.",)
