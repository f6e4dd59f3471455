"""A Python file that needs only torch and reproduces the weights of a Scenario.

Inputs are made by the very functions that the app uses: their source is copied into the file. Tables and files
travel as the bytes of their numbers.
"""

from __future__ import annotations

import base64
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from mha_viz import settings
from mha_viz.attention.layer import constructor
from mha_viz.errors import InputError
from mha_viz.export import script_masks, stack_scripts
from mha_viz.inputs.assemble import Inputs, Tokens, build
from mha_viz.inputs.synthetic import SOURCES, sinusoidal
from mha_viz.inputs.text import embed
from mha_viz.scenario import ATTENTION, Scenario

MAX_EMBEDDED_BYTES = 8 * 2**20
MODULES = ("base64", "math", "zlib")


def script(s: Scenario) -> str:
    """Return the source of a program that leaves `weights` [N, H, L, S] and `output` [N, L, E] as the app has them.

    Of a stack `weights` is a list with those of each attention call, and `output` is the whole stack's.

    Raises:
        InputError: The Scenario's inputs cannot be read, or given tensors are too large to embed.
    """
    inputs = build(s)
    of_layer, of_stack = (_masks, _layer, _call), (stack_scripts.masks, stack_scripts.model, stack_scripts.call)
    parts = (_inputs, *(of_layer if s.stack == ATTENTION else of_stack))
    paragraphs = ["\n".join(part(s, inputs)) for part in parts]
    body = "\n\n".join(paragraphs)
    used = [f"import {name}" for name in MODULES if re.search(rf"\b{name}\.", body)]
    header = f'"""Reproduces attention weights shown by MHA Viz; needs only torch.\n\nSettings: {_settings(s)}\n"""\n'
    imports = "\n".join([*used, *[""] * bool(used), "import torch", "from torch import nn"])
    return f"{header}\n{imports}\n\nE, H = {s.embed_dim}, {s.num_heads}\nseed = {s.seed}\n\n\n{body}\n"


def _settings(s: Scenario) -> str:
    """Return the link's query string; percent-encoded, so it cannot end the string that it stands in."""
    return settings.to_query(s) or "the defaults"


# Inputs


def _inputs(s: Scenario, inputs: Inputs) -> Iterator[str]:
    if s.source == "text":
        yield from _text_inputs(s, inputs)
    elif s.source in SOURCES:
        yield from _made_up_inputs(s, inputs)
    else:
        yield from _given_inputs(inputs)
    yield "N, L, S = query.shape[0], query.shape[1], key.shape[1]"


def _text_inputs(s: Scenario, inputs: Inputs) -> Iterator[str]:
    yield _source(embed)
    if s.positions:
        yield _source(sinusoidal)
    positions = " + sinusoidal(len(items[0]), dim)" if s.positions else ""
    yield "def vectors(items, dim):"
    yield f"    return torch.stack([embed(tokens, dim, seed) for tokens in items]){positions}\n\n"
    yield f"query_tokens = {_listed(inputs.query_tokens)}"
    yield f"query = vectors(query_tokens, {s.embed_dim})  # [N, L, E]"
    if inputs.key is inputs.query:
        yield "key = value = query  # self-attention"
        return
    yield f"key_tokens = {_listed(inputs.key_tokens)}"
    yield f"key = vectors(key_tokens, {inputs.key.shape[2]})  # [N, S, kdim]"
    yield "value = key" if inputs.value is inputs.key else f"value = vectors(key_tokens, {inputs.value.shape[2]})"


def _made_up_inputs(s: Scenario, inputs: Inputs) -> Iterator[str]:
    function = SOURCES[s.source].function
    if "sinusoidal(" in inspect.getsource(function):
        yield _source(sinusoidal)
    yield _source(function)

    def drawn(tensor: Tensor) -> str:
        return f"{function.__name__}({', '.join(map(str, tensor.shape))}, generator)"

    yield "generator = torch.Generator().manual_seed(seed)"
    yield f"query = {drawn(inputs.query)}  # [N, L, E]"
    if inputs.key is inputs.query:
        yield "key = value = query  # self-attention"
        return
    yield f"key = {drawn(inputs.key)}  # [N, S, kdim]"
    yield "value = key" if inputs.value is inputs.key else f"value = {drawn(inputs.value)}"


def _given_inputs(inputs: Inputs) -> Iterator[str]:
    yield "def tensor(shape, data):"
    yield "    return torch.frombuffer(bytearray(base64.b64decode(data)), dtype=torch.float32).reshape(shape)\n\n"
    names: dict[int, str] = {}
    for name in ("query", "key", "value"):
        given: Tensor = getattr(inputs, name)
        if id(given) in names:
            yield f"{name} = {names[id(given)]}"
        else:
            names[id(given)] = name
            yield f'{name} = tensor({list(given.shape)}, "{_embedded(given, name)}")'


def _embedded(tensor: Tensor, name: str) -> str:
    data = tensor.contiguous().numpy().astype("<f4").tobytes()
    if len(data) > MAX_EMBEDDED_BYTES:
        message = f"it has {len(data):,} bytes, at most {MAX_EMBEDDED_BYTES:,}."
        raise InputError(f"{name} is too large to be written into a script: {message}")
    return base64.b64encode(data).decode("ascii")


# Masks


def _masks(s: Scenario, inputs: Inputs) -> Iterator[str]:
    yield from script_masks.attn_mask(s, "attn_mask", s.mask, s.score_bias)
    yield from script_masks.key_padding_mask(s, "key_padding_mask", inputs.key_lengths, "S")


# The layer and its call


def _layer(s: Scenario, inputs: Inputs) -> Iterator[str]:
    usual = {"dropout": 0.0, "bias": True}
    options = {name: value for name, value in constructor(s).items() if value not in (False, None) or name in usual}
    given = "".join(f", {n}={v!r}" for n, v in options.items() if usual.get(n) != v)
    yield "torch.manual_seed(seed)"
    yield f"mha = nn.MultiheadAttention(E, H{given})"
    if s.qk_scale != 1.0:
        packed = {s.kdim or s.embed_dim, s.vdim or s.embed_dim} == {s.embed_dim}
        yield "with torch.no_grad():"
        projection = "mha.in_proj_weight[:E]" if packed else "mha.q_proj_weight"
        yield f"    {projection}.mul_({s.qk_scale!r})  # larger scores than an untrained layer has"
    yield f'mha = mha.to("{s.device}", torch.{s.dtype}).{"train" if s.training else "eval"}()'


def _call(s: Scenario, inputs: Inputs) -> Iterator[str]:
    layout = "[0]" if s.unbatched else "" if s.batch_first else ".transpose(0, 1)"
    place = f'.to("{s.device}", torch.{s.dtype}){layout}'
    yield f"query = query{place}"
    yield "key = query" if inputs.key is inputs.query else f"key = key{place}"
    same = "query" if inputs.value is inputs.query else "key" if inputs.value is inputs.key else f"value{place}"
    yield f"value = {same}"
    if s.unbatched and inputs.key_lengths is not None:
        yield "key_padding_mask = key_padding_mask[0]"
    if s.device != "cpu":
        for name in ("attn_mask", "key_padding_mask"):
            yield f'{name} = None if {name} is None else {name}.to("{s.device}")'
    if s.training and s.dropout:
        yield "torch.manual_seed(seed)  # for dropout"
    yield "# Gradients stay on: without them an eval-mode layer may take a fused path that treats masks differently."
    yield "output, weights = mha("
    for argument in (
        "query",
        "key",
        "value",
        "key_padding_mask=key_padding_mask",
        "need_weights=True",
        "attn_mask=attn_mask",
        "average_attn_weights=False",
        f"is_causal={s.is_causal}",
    ):
        yield f"    {argument},"
    yield ")"
    if s.unbatched:
        yield "output, weights = output[None], weights[None]"
    elif not s.batch_first:
        yield "output = output.transpose(0, 1)"
    yield "output, weights = output.detach(), weights.detach()  # [N, L, E], [N, H, L, S]"
    yield 'print("weights", list(weights.shape), "output", list(output.shape))'
    yield "print(weights)"


def _source(function: Callable[..., Any]) -> str:
    return inspect.getsource(function).rstrip() + "\n\n"


def _listed(items: Tokens) -> str:
    return repr([list(item) for item in items])
