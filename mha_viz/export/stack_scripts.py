"""The part of an exported script that is a stack's own: its masks, the model, and the call that gives weights."""

from __future__ import annotations

from collections.abc import Iterator

from mha_viz.attention import stack
from mha_viz.export import script_masks
from mha_viz.inputs.assemble import Inputs
from mha_viz.scenario import DECODER, ENCODER, Scenario

# What torch's layers take for granted.
USUAL = {"dim_feedforward": 2048, "dropout": 0.1, "activation": "relu", "batch_first": False, "norm_first": False}

RECIPE = """\
weights = []  # one [N, H, L, S] for each attention call


def ask_for_weights(module, args, kwargs):  # torch's layers ask for none
    return args, {**kwargs, "need_weights": True, "average_attn_weights": False}


def keep_weights(module, args, result):
    weights.append(result[1].detach())


for module in model.modules():
    if isinstance(module, nn.MultiheadAttention):
        module.register_forward_pre_hook(ask_for_weights, with_kwargs=True)
        module.register_forward_hook(keep_weights)
"""


def masks(s: Scenario, inputs: Inputs) -> Iterator[str]:
    """Yield the lines that make the masks, each under the name that the stack has for it."""
    stack.check(s, inputs)
    queries, keys = "query.shape[1]", "key.shape[1]"
    memory = "src" if s.stack == ENCODER else "memory"
    own = "src_mask" if s.stack == ENCODER else "tgt_mask"
    yield f"L = S = {queries}"
    yield from script_masks.attn_mask(s, own, s.mask, s.score_bias)
    if s.has_memory:
        target = stack.target_lengths(s, inputs)
        yield from script_masks.key_padding_mask(s, "tgt_key_padding_mask", target, "L")
        yield f"L, S = {queries}, {keys}"
        yield from script_masks.attn_mask(s, "memory_mask", s.memory_mask)
    yield from script_masks.key_padding_mask(s, f"{memory}_key_padding_mask", inputs.key_lengths, "S")
    if s.has_memory and s.stack != DECODER:
        yield f"L = S = {keys}"
        yield from script_masks.attn_mask(s, "src_mask", s.src_mask)


def model(s: Scenario, inputs: Inputs) -> Iterator[str]:
    """Yield the lines that make the stack."""
    options = "".join(f", {n}={v!r}" for n, v in stack.constructor(s).items() if n in USUAL and USUAL[n] != v)
    options += "" if s.bias else ", bias=False"
    yield "torch.manual_seed(seed)"
    whole = "enable_nested_tensor=False"  # nested tensors would cut the weights down to the longest item
    encoder = f"nn.TransformerEncoderLayer(E, H{options})"
    decoder = f"nn.TransformerDecoderLayer(E, H{options})"
    if s.stack == ENCODER:
        yield f"layer = {encoder}"
        yield f"model = nn.TransformerEncoder(layer, {s.num_layers}, {whole})  # copies of one layer"
    elif s.stack == DECODER:
        yield f"layer = {decoder}"
        yield f"model = nn.TransformerDecoder(layer, {s.num_layers})  # copies of one layer"
    else:
        norm = f"nn.LayerNorm(E{'' if s.bias else ', bias=False'})"
        yield f"layer = {encoder}"
        yield f"encoder = nn.TransformerEncoder(layer, {s.num_layers}, {norm}, {whole})"
        yield f"layer = {decoder}"
        yield f"decoder = nn.TransformerDecoder(layer, {s.num_layers}, {norm})"
        own = "custom_encoder=encoder, custom_decoder=decoder"
        yield f"model = nn.Transformer(E, H, {own}, batch_first={s.batch_first})  # draws all parameters anew"
    if s.qk_scale != 1.0:
        yield "with torch.no_grad():"
        yield "    for module in model.modules():"
        yield "        if isinstance(module, nn.MultiheadAttention):"
        yield f"            module.in_proj_weight[:E].mul_({s.qk_scale!r})  # larger scores than untrained layers have"
    yield f'model = model.to("{s.device}", torch.{s.dtype}).{"train" if s.training else "eval"}()'


def call(s: Scenario, inputs: Inputs) -> Iterator[str]:
    """Yield the lines that run the stack and keep the weights of every attention call."""
    place = f'.to("{s.device}", torch.{s.dtype}){"" if s.batch_first else ".transpose(0, 1)"}'
    yield f"query = query{place}"
    yield "key = query" if inputs.key is inputs.query else f"key = key{place}"
    yield RECIPE
    if s.training and s.dropout:
        yield "torch.manual_seed(seed)  # for dropout"
    yield "# Gradients stay on: without them an eval-mode layer may take a fused path that treats masks differently."
    yield "output = model("
    for name, value in _arguments(s).items():
        placed = f'{value} if {value} is None else {value}.to("{s.device}")' if "mask" in value else value
        yield f"    {name}={placed if s.device != 'cpu' else value},"
    yield ")"
    layout = "" if s.batch_first else ".transpose(0, 1)"
    yield f"output = output{layout}.detach()  # [N, L, E]"
    yield 'print("weights", [list(w.shape) for w in weights], "output", list(output.shape))'
    yield "print(weights[0])"


def _arguments(s: Scenario) -> dict[str, str]:
    """Return the arguments of the stack's forward and what the script calls them."""
    if s.stack == ENCODER:
        return {"src": "query", "mask": "src_mask", "src_key_padding_mask": "src_key_padding_mask"}
    names = ("tgt_mask", "memory_mask", "tgt_key_padding_mask", "memory_key_padding_mask")
    masks = {name: name for name in names}
    if s.stack == DECODER:
        return {"tgt": "query", "memory": "key", **masks}
    source = {"src_mask": "src_mask", "src_key_padding_mask": "memory_key_padding_mask"}
    return {"src": "key", "tgt": "query", **source, **masks}
