"""Which mask was brought to be checked: a way of writing the intended one wrong, or a file, and the fixes since."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mha_viz import masks, settings
from mha_viz.attention import memory, sdpa
from mha_viz.attention.layer import arguments, of_one_kind, run_given, shared_module
from mha_viz.attention.layer import run as run_as_set
from mha_viz.attention.path_table import PathTable
from mha_viz.attention.paths import compare_paths
from mha_viz.attention.reach import reach
from mha_viz.attention.reach_check import Comparison, compare_reach
from mha_viz.attention.records import Run
from mha_viz.doctor import MISTAKES, RULES, Case, repaired
from mha_viz.doctor.reading import Sizes
from mha_viz.errors import CapacityError, InputError, ScenarioError
from mha_viz.inputs import store
from mha_viz.inputs.assemble import Inputs, build, sizes
from mha_viz.inputs.raw_mask import MAX_ELEMENTS, RawMask
from mha_viz.inputs.upload import Upload
from mha_viz.masks import Mask, encode
from mha_viz.scenario import Scenario
from mha_viz.settings import setting

GROUP = "Mask given"
CORRECT = "none"


def _canonical_fixed(value: Any) -> str:
    """Spell rules as `inverted-mask, float-mask`; a sequence of their names is taken too."""
    names = [name.strip() for name in (str(value).split(",") if isinstance(value, str) else value)]
    names = [name for name in names if name]
    for name in names:
        if name not in RULES:
            raise ScenarioError(f"fixed must name rules of the doctor, not {name[:60]!r}.", field="fixed")
    return ", ".join(names)


@dataclass(frozen=True)
class Given:
    """The mask as it is passed to the layer; what was intended is the Scenario's mask.

    Raises:
        ScenarioError: A value is not one of those allowed.
    """

    mistake: str = setting(
        "inverted",
        group=GROUP,
        choices=(CORRECT, *MISTAKES),
        label="what is wrong with it",
        help="The intended mask as people often write it wrongly; none: as it should be.",
    )
    file: str = setting("", group=GROUP, label="mask file", help="The uploaded or pasted mask; it goes first.")
    role: str = setting(
        "attn_mask",
        group=GROUP,
        choices=("attn_mask", "key_padding_mask"),
        label="passed as",
        help="Which argument the uploaded mask is, where the file does not say.",
    )
    api: str = setting(
        "mha",
        group=GROUP,
        choices=("mha", "sdpa"),
        label="passed to",
        help="mha: nn.MultiheadAttention, where True means ignore. sdpa: F.scaled_dot_product_attention, where True "
        "means attend.",
    )
    fixed: str = setting(
        "",
        group=GROUP,
        max_chars=1_000,
        canonical=_canonical_fixed,
        help="The rules whose fixes have been applied to the mask, in order.",
    )

    def __post_init__(self) -> None:
        for name in settings.metadata(Given):
            object.__setattr__(self, name, settings.normalise(getattr(self, name), Given, name))

    @property
    def fixes(self) -> tuple[str, ...]:
        """The rules of `fixed`."""
        return tuple(self.fixed.split(", ")) if self.fixed else ()

    @property
    def before(self) -> Given | None:
        """What was given before the last fix; None if nothing was fixed."""
        return replace(self, fixed=", ".join(self.fixes[:-1])) if self.fixes else None


def hold(raw: RawMask) -> str:
    """Keep a mask that was read, and return the text that a Given names it by."""
    return store.put(Upload(raw.name, raw.digest, raw.tensors, {}))


def fitted(s: Scenario, raw: RawMask, role: str) -> Scenario:
    """Return the Scenario with the sizes that a mask asks for; its other settings stay.

    Args:
        s: The settings.
        raw: The mask; (L, S), (N * H, L, S) or (N, H, L, S), or (N, S) for a padding mask.
        role: What a mask without a name is, `attn_mask` or `key_padding_mask`.

    Raises:
        ScenarioError: A side of the mask is longer than a sequence can be.
    """
    changes: dict[str, int | None] = {}
    for name, tensor in raw.tensors.items():
        *outer, last = tensor.shape
        if (name or role) == "key_padding_mask":
            changes |= {"query_len": last, "key_len": None, "batch_size": outer[0] if outer else s.batch_size}
        elif outer:
            length = outer[-1]
            changes |= {"query_len": length, "key_len": None if length == last else last}
            if len(outer) == 2 and outer[0] % s.num_heads == 0:
                changes["batch_size"] = outer[0] // s.num_heads
            elif len(outer) == 3:
                changes["batch_size"] = outer[0]
    return Scenario(**{**{name: getattr(s, name) for name in settings.metadata(Scenario)}, **changes})


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
    memory.check(s, size)
    if size.query_len * size.key_len > MAX_ELEMENTS:
        raise CapacityError(
            f"A mask that is checked must have at most {MAX_ELEMENTS:,} cells, not {size.query_len:,} x "
            f"{size.key_len:,}: reduce query_len or key_len.",
            field="query_len",
        )


def run(s: Scenario, of: Case) -> Run:
    """Run the Scenario's layer on the masks of a case; errors are those of `run_given`.

    Where the hint is_causal stands without a mask, the call is that of eval mode and no_grad, the only one that torch
    lets pass; where the layer reads the batch as the sequence, its run has the shapes that come of it.
    """
    changed = replace(s, training=of.training, dropout=of.dropout)
    given = (of.attn_mask, of.key_padding_mask)
    if of.api == "mha" and of.batch_first is False and s.batch_first:
        return run_given(replace(changed, batch_first=False), *given, inputs=_misread(build(s)))
    return run_given(changed, *given, is_causal=of.is_causal, api=of.api, fast=_hint_alone(of))


def _hint_alone(of: Case) -> bool:
    """Say whether the hint is_causal stands without a mask in eval mode, where only the fast path takes it."""
    return of.is_causal and of.attn_mask is None and not of.training


def intended(s: Scenario, of: Case) -> Run:
    """Run the Scenario's layer under the masks that a case intends; errors are those of `run_given`."""
    assert of.intent is not None
    if of.intent == intent(s):
        return run_as_set(s)
    size = sizes(s)
    mask = encode.attn_mask(
        of.intent,
        query_len=size.query_len,
        key_len=size.key_len,
        batch_size=size.batch_size,
        num_heads=s.num_heads,
    )
    return run_given(s, mask)


def _misread(inputs: Inputs) -> Inputs:
    """Return the inputs as a layer reads them whose batch_first is not what they were made for."""
    turned = {id(t): t.transpose(0, 1) for t in (inputs.query, inputs.key, inputs.value)}
    return Inputs.of(*(turned[id(t)] for t in (inputs.query, inputs.key, inputs.value)))


def _given_case(s: Scenario, given: Given) -> Case:
    if given.mistake != CORRECT and not given.file:
        size = sizes(s)
        of = Sizes(size.batch_size, s.num_heads, size.query_len, size.key_len)
        made = MISTAKES[given.mistake].build(of, intent(s))
        shape = made.query_shape
        return made if shape is None else made.but(query_shape=(*shape[:-1], s.embed_dim))
    correct = _correct(s, given.api)
    return correct.but(**_brought(given)) if given.file else correct


def _brought(given: Given) -> dict[str, Tensor | None]:
    held = store.get(given.file).tensors
    roles: dict[str, Tensor | None] = {"attn_mask": None, "key_padding_mask": None}
    return roles | {name or given.role: tensor for name, tensor in held.items()}


def _correct(s: Scenario, api: str) -> Case:
    """Return the call with its masks as they should be."""
    inputs, size = build(s), sizes(s)
    call = arguments(s, inputs)
    if api == "sdpa":
        call |= {"attn_mask": _for_function(s), "key_padding_mask": None}
    return Case(
        attn_mask=call["attn_mask"],
        key_padding_mask=call["key_padding_mask"],
        num_heads=s.num_heads,
        query_len=size.query_len,
        key_len=size.key_len,
        batch_size=size.batch_size,
        intent=intent(s),
        is_causal=s.is_causal,
        api="sdpa" if api == "sdpa" else "mha",
        dtype=getattr(torch, s.dtype),
        query_shape=tuple(call["query"].shape),
        batch_first=s.batch_first,
        average_attn_weights=s.average_attn_weights,
        dropout=s.dropout,
        training=s.training,
        add_bias_kv=s.add_bias_kv,
        add_zero_attn=s.add_zero_attn,
    )


def _for_function(s: Scenario) -> Tensor:
    """Return the mask of `F.scaled_dot_product_attention` for a Scenario: what may be seen, padding included."""
    size = sizes(s)
    allowed = intent(s).allowed(size.query_len, size.key_len, batch_size=size.batch_size, num_heads=s.num_heads)
    return encode.as_given(allowed, "sdpa")


def reach_under(s: Scenario, of: Case) -> tuple[Tensor, Comparison]:
    """Return what each output depends on under the masks of a case, [N, L, S], and the same against the intent.

    Each key is replaced in turn, and every output compared with that of the unchanged call.

    Raises:
        InputError: torch refuses the masks.
    """
    layer, call = shared_module(s), arguments(s, build(s))
    query, key, value = (call[name] for name in ("query", "key", "value"))

    def function(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> Tensor:
        return sdpa.forward(layer, query, key, value, attn_mask, is_causal=of.is_causal)[0]

    try:
        if of.api == "sdpa":
            found = reach(function, query, key, value, of.attn_mask, perturb="key", per_item=True)
        else:
            attn_mask, padding = of_one_kind(of.attn_mask, of.key_padding_mask)
            given = (padding, True, attn_mask, True, of.is_causal)  # True: need_weights, average_attn_weights
            with torch.set_grad_enabled(not _hint_alone(of)):
                found = reach(layer, query, key, value, *given, perturb="key", per_item=True)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"torch refused the call: {str(error).splitlines()[0]}") from error
    assert of.intent is not None
    n, length, keys = found.shape
    may = of.intent.allowed(length, keys, batch_size=n, num_heads=s.num_heads)
    may = may.expand(n, s.num_heads, length, keys).any(1)
    return found, compare_reach(found, may, own=key is query)


def paths_under(s: Scenario, of: Case) -> PathTable:
    """Return what every execution path of the layer makes of the masks of a case; the case's api is "mha"."""
    call = arguments(s, build(s))
    attn_mask, padding = of_one_kind(of.attn_mask, of.key_padding_mask)
    return compare_paths(
        shared_module(s),
        call["query"],
        call["key"],
        call["value"],
        attn_mask=attn_mask,
        key_padding_mask=padding,
        is_causal=of.is_causal,
    )
