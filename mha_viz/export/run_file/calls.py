"""The call of a layer in a run file: its module is built from sizes and parameters, never unpickled."""

from __future__ import annotations

import torch
from torch import nn

from mha_viz.attention.records import Call
from mha_viz.errors import InputError
from mha_viz.export.run_file.fields import Fields, Tensors
from mha_viz.export.run_file.layout import MODULE

CALL = ("query", "key", "value", "module", "state")

_PARAMETERS = frozenset(
    {
        *("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v"),
        *("out_proj.weight", "out_proj.bias"),
    }
)
_MAX_DIM = 2**20


def call_of(layer: Fields, tensors: Tensors, modules: dict[str, nn.MultiheadAttention]) -> Call:
    """Return the call that a layer's field `call` describes.

    Args:
        layer: The layer.
        tensors: Those of the file.
        modules: The modules of the calls before this one: a module that was called twice is one object.

    Raises:
        InputError: The sizes do not fit each other, or not the parameters.
    """
    fields = layer.inner("call", CALL)
    query, key, value = (tensors.take(fields, name, (3,)) for name in ("query", "key", "value"))
    module = modules.setdefault(repr((fields.values["module"], fields.values["state"])), _module(fields, tensors))
    sizes = [query.shape[2], key.shape[2], value.shape[2]]
    if sizes != [module.embed_dim, module.kdim, module.vdim]:
        wanted = [module.embed_dim, module.kdim, module.vdim]
        raise InputError(f"{fields.at}query, key and value must have vectors of size {wanted}, not {sizes}.")
    if query.shape[0] != key.shape[0] or value.shape[:2] != key.shape[:2]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (query, key, value))
        raise InputError(f"{fields.at}query, key and value must share N, and key and value S, not {shapes}.")
    return Call(module, query, key, value)


def _module(fields: Fields, tensors: Tensors) -> nn.MultiheadAttention:
    about, at = fields.inner("module", MODULE), f"{fields.at}state."
    held = fields.values["state"]
    named = Fields.of(held, at, _PARAMETERS.intersection(held if isinstance(held, dict) else ()))
    state = {name: tensors.take(named, name, (1, 2, 3)) for name in named.values}
    sizes = {name: about.whole(name, 1, _MAX_DIM) for name in ("embed_dim", "num_heads", "kdim", "vdim")}
    if sizes["embed_dim"] % sizes["num_heads"]:
        raise about.wrong("num_heads", f"a divisor of {sizes['embed_dim']}")
    module = nn.MultiheadAttention(
        **sizes,
        dropout=about.number("dropout", 0, 1),
        bias="in_proj_bias" in state,
        add_bias_kv="bias_k" in state,
        add_zero_attn=about.flag("add_zero_attn"),
        batch_first=about.flag("batch_first"),
        device=torch.device("meta"),  # takes no memory: the parameters are those of the file
    )
    _check_parameters(module, state, at)
    module.load_state_dict(state, assign=True)
    return module.train(about.flag("training"))


def _check_parameters(module: nn.MultiheadAttention, state: dict[str, torch.Tensor], at: str) -> None:
    wanted = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in wanted.keys() | state.keys():
        found = list(state[name].shape) if name in state else None
        if found != wanted.get(name):
            raise InputError(f"{at}{name} must have the shape {wanted.get(name)}, not {found}.")
    if len({tensor.dtype for tensor in state.values()}) > 1:
        raise InputError(f"{at.rstrip('.')} must hold tensors of one number format.")
