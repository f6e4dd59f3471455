"""The call that a brought mask makes, as the doctor looks at it: masks on the CPU, after the fixes."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor

from mha_viz import masks
from mha_viz.attention import memory
from mha_viz.attention.layer import arguments
from mha_viz.doctor import MISTAKES, RULES, Case, repaired
from mha_viz.doctor.reading import Sizes
from mha_viz.errors import CapacityError
from mha_viz.given.choice import CORRECT, Given
from mha_viz.inputs import store
from mha_viz.inputs.assemble import build, sizes
from mha_viz.inputs.raw_mask import MAX_ELEMENTS
from mha_viz.masks import Mask, encode
from mha_viz.scenario import Scenario


def intent(s: Scenario) -> Mask:
    """Return all that a Scenario intends: its mask and, where keys are padding, its padding."""
    lengths = build(s).key_lengths
    wanted = masks.mask(s.mask)
    return wanted if lengths is None else wanted & masks.PATTERNS["padding"](*lengths)


def case(s: Scenario, given: Given) -> Case:
    """Return the call that is checked: the masks as given, after the fixes.

    Raises:
        CapacityError: The masks or the weights would be too large; nothing was allocated.
        MhaVizError: The file is gone, or the Scenario's inputs cannot be made.
    """
    return fixed_case(s, given)[0]


def fixed_case(s: Scenario, given: Given) -> tuple[Case, tuple[str, ...]]:
    """Return the call that is checked, and the code of each fix that changed it; errors are those of `case`."""
    _check_size(s)
    made = _given_case(s, given)
    codes = []
    for rule in given.fixes:
        found = next(RULES[rule].findings(made), None)
        if found is not None and RULES[rule].repair is not None:
            made = repaired(made, rule)
            codes.append(found.fix)
    return made, tuple(codes)


def _check_size(s: Scenario) -> None:
    """Refuse masks and weights that are too large: here they are built whole, several times over."""
    size = sizes(s)
    if size.query_len * size.key_len > MAX_ELEMENTS:
        length = isqrt(MAX_ELEMENTS) if size.query_len == size.key_len else MAX_ELEMENTS // size.key_len
        raise CapacityError(
            f"A mask that is checked must have at most {MAX_ELEMENTS:,} cells, not {size.query_len:,} x "
            f"{size.key_len:,}: reduce query_len to {length:,}, or key_len.",
            field="query_len",
        )
    memory.check(s, size)


def _given_case(s: Scenario, given: Given) -> Case:
    if given.mistake != CORRECT and not given.file:
        size = sizes(s)
        of = Sizes(size.batch_size, s.num_heads, size.query_len, size.key_len)
        made = MISTAKES[given.mistake].build(of, intent(s))
        shape = None if made.query_shape is None else (*made.query_shape[:-1], s.embed_dim)
        return made.but(query_shape=shape, **_facts(s, made.api))
    correct = _correct(s, given.api)
    return correct.but(**_brought(given)) if given.file else correct


def _brought(given: Given) -> dict[str, Tensor | None]:
    held = store.get(given.file).tensors
    roles: dict[str, Tensor | None] = {"attn_mask": None, "key_padding_mask": None}
    return roles | {name or given.role: tensor for name, tensor in held.items()}


def _correct(s: Scenario, api: str) -> Case:
    """Return the call with its masks as they should be."""
    call, size = arguments(s, build(s)), sizes(s)
    if api == "sdpa":
        call |= {"attn_mask": _for_function(s), "key_padding_mask": None}
    attn_mask, padding = (None if m is None else m.cpu() for m in (call["attn_mask"], call["key_padding_mask"]))
    return Case(
        attn_mask=attn_mask,
        key_padding_mask=padding,
        num_heads=s.num_heads,
        query_len=size.query_len,
        key_len=size.key_len,
        batch_size=size.batch_size,
        intent=intent(s),
        is_causal=s.is_causal,
        api="sdpa" if api == "sdpa" else "mha",
        query_shape=tuple(call["query"].shape),
        batch_first=s.batch_first,
        **_facts(s, api),
    )


def _facts(s: Scenario, api: str) -> dict[str, Any]:
    """Return what a Case is told of the layer beside its masks; of all this the function has a number format only."""
    facts: dict[str, Any] = {"dtype": getattr(torch, s.dtype)}
    names = ("average_attn_weights", "dropout", "training", "add_bias_kv", "add_zero_attn")
    return facts | {name: getattr(s, name) for name in names if api == "mha"}


def _for_function(s: Scenario) -> Tensor:
    """Return the mask of `F.scaled_dot_product_attention` for a Scenario: what may be seen, padding included."""
    size = sizes(s)
    allowed = intent(s).allowed(size.query_len, size.key_len, batch_size=size.batch_size, num_heads=s.num_heads)
    return encode.as_given(allowed, "sdpa")
