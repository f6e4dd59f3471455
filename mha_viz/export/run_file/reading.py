"""From the tensors and the JSON of a run file to a Run: everything is checked, nothing is believed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast, get_args

from torch import Tensor, nn

from mha_viz import settings
from mha_viz.attention.records import How, LayerAttention, Passed
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError, MaskError, MhaVizError
from mha_viz.export.run_file.calls import call_of
from mha_viz.export.run_file.fields import Fields, Tensors
from mha_viz.inputs.assemble import Inputs, Tokens
from mha_viz.masks.encode import Api
from mha_viz.scenario import Scenario

RUN = ("name", "device", "dtype", "seconds", "peak_bytes", "scenario", "notes", "inputs", "layers", "norms", "tokens")
INPUTS = ("query", "key", "value", "query_tokens", "key_tokens", "key_lengths")
LAYER = (
    *("name", "weights", "output", "returned", "attn_mask", "key_padding_mask", "output_change", "extra_keys"),
    *("dropout", "how", "passed", "query_tokens", "key_tokens", "heads", "items", "call"),
)
PASSED = ("api", "is_causal", "attn_mask", "key_padding_mask")

_PLAIN = r"[\w:., -]{0,60}"


def run_of(facts: Any, named: Mapping[str, Any]) -> Run:
    """Return the Run of a file.

    Args:
        facts: Its JSON.
        named: Its tensors by name.

    Raises:
        InputError: Something is missing, of the wrong kind, or does not fit the rest; the sentence names it.
    """
    fields, tensors = Fields.of(facts, "", RUN), Tensors(named)
    rows = _rows(fields)
    inputs = _inputs(fields.inner("inputs", INPUTS), tensors, rows) if fields.given("inputs") else None
    layers = _layers(fields, tensors, rows)
    for name in ("device", "dtype"):
        if not re.fullmatch(_PLAIN, fields.text(name)):
            raise fields.wrong(name, "a plain name")
    scenario, lost = _scenario(fields)
    run = Run(
        layers=layers,
        inputs=inputs,
        scenario=scenario,
        device=fields.text("device"),
        dtype=fields.text("dtype"),
        seconds=fields.number("seconds", 0, 1e12) if fields.given("seconds") else None,
        peak_bytes=fields.whole("peak_bytes") if fields.given("peak_bytes") else None,
        name=fields.text("name"),
        norms=_norms(fields, tensors),
        notes=(*fields.texts("notes"), *lost),
    )
    tensors.check_all_taken()
    _check_tokens(run)
    _check_settings(run)
    return run


def _each(fields: Fields, name: str) -> list[tuple[int, Any]]:
    value = fields.values[name]
    if not isinstance(value, list):
        raise fields.wrong(name, "a list")
    return list(enumerate(value))


def _rows(fields: Fields) -> Tokens:
    every = {str(i): value for i, value in _each(fields, "tokens")}
    rows = Fields("tokens.", every)
    return tuple(rows.texts(place) for place in every)


def _tokens(fields: Fields, name: str, rows: Tokens, items: int) -> Tokens:
    return tuple(rows[i] for i in fields.wholes(name, items, len(rows) - 1))


def _inputs(fields: Fields, tensors: Tensors, rows: Tokens) -> Inputs:
    query, key, value = (tensors.take(fields, name, (3,)) for name in ("query", "key", "value"))
    items, keys = key.shape[:2]
    if query.shape[0] != items or value.shape[:2] != key.shape[:2]:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (query, key, value))
        raise InputError(f"inputs must be query [N, L, E], key [N, S, kdim] and value [N, S, vdim], not {shapes}.")
    found = Inputs(
        query=query,
        key=key,
        value=value,
        query_tokens=_tokens(fields, "query_tokens", rows, items),
        key_tokens=_tokens(fields, "key_tokens", rows, items),
        key_lengths=fields.wholes("key_lengths", items, keys) if fields.given("key_lengths") else None,
    )
    for name, length in (("query_tokens", query.shape[1]), ("key_tokens", keys)):
        _check_lengths(f"inputs.{name}", getattr(found, name), length)
    return found


def _check_lengths(name: str, tokens: Tokens, length: int) -> None:
    for row in tokens:
        if len(row) != length:
            raise InputError(f"{name} must have {length:,} tokens for each item, not {len(row):,}.")


def _layers(fields: Fields, tensors: Tensors, rows: Tokens) -> tuple[LayerAttention, ...]:
    modules: dict[str, nn.MultiheadAttention] = {}
    every = [Fields.of(value, f"layers.{i}.", LAYER) for i, value in _each(fields, "layers")]
    if not every:
        raise InputError("layers must be a list of at least one.")
    return tuple(_layer(layer, tensors, rows, modules) for layer in every)


def _layer(fields: Fields, tensors: Tensors, rows: Tokens, modules: dict[str, nn.MultiheadAttention]) -> LayerAttention:
    weights = tensors.take(fields, "weights", (4,))
    items, heads, length, keys = weights.shape
    extra = fields.texts("extra_keys")
    if len(extra) > keys:
        raise fields.wrong("extra_keys", f"at most {keys:,} texts")
    layer = LayerAttention(
        name=fields.text("name"),
        weights=weights,
        output=_sized(tensors, fields, "output", (3,), {0: items, 1: length}),
        returned=_sized(tensors, fields, "returned", (2, 3, 4), {-2: length, -1: keys}),
        output_change=fields.number("output_change"),
        attn_mask=tensors.take_any(fields, "attn_mask"),
        key_padding_mask=tensors.take_any(fields, "key_padding_mask"),
        extra_keys=extra,
        dropout=fields.number("dropout", 0, 1),
        how=cast(How, fields.text("how", get_args(How))),
        passed=_passed(fields.inner("passed", PASSED), tensors) if fields.given("passed") else None,
        query_tokens=_tokens(fields, "query_tokens", rows, items) if fields.given("query_tokens") else None,
        key_tokens=_tokens(fields, "key_tokens", rows, items) if fields.given("key_tokens") else None,
        heads=fields.wholes("heads", heads) if fields.given("heads") else None,
        items=fields.wholes("items", items) if fields.given("items") else None,
        call=call_of(fields, tensors, modules) if fields.given("call") else None,
    )
    _check_masks(layer, fields.at)
    _check_call(layer, fields.at)
    return layer


def _sized(tensors: Tensors, fields: Fields, name: str, dims: tuple[int, ...], sizes: dict[int, int]) -> Tensor | None:
    if not fields.given(name):
        return None
    tensor = tensors.take(fields, name, dims)
    if any(tensor.shape[place] != size for place, size in sizes.items()):
        raise InputError(f"{fields.at}{name} must fit the weights, but its shape is {list(tensor.shape)}.")
    return tensor


def _check_masks(layer: LayerAttention, at: str) -> None:
    items, _, length, keys = layer.weights.shape
    try:
        by_mask, by_padding = layer.attn_allowed.shape, layer.key_allowed.shape
    except MaskError as error:
        raise InputError(f"{at}{error}.") from None
    if by_mask[2:] != (length, keys):
        raise InputError(f"{at}attn_mask must fit the weights, but its shape is {_shape(layer.attn_mask)}.")
    if by_padding[0] not in (1, items) or by_padding[-1] != keys:
        shape = _shape(layer.key_padding_mask)
        raise InputError(f"{at}key_padding_mask must fit the weights, but its shape is {shape}.")


def _shape(mask: Tensor | None) -> list[int] | None:
    return None if mask is None else list(mask.shape)


def _check_call(layer: LayerAttention, at: str) -> None:
    call = layer.call
    if call is None:
        return
    items, heads, length, keys = layer.weights.shape
    fit = call.query.shape[1] == length and call.key.shape[1] == keys - len(layer.extra_keys)
    fit &= layer.items is not None or call.query.shape[0] == items
    fit &= layer.heads is not None or call.module.num_heads == heads
    if not fit:
        raise InputError(f"{at}call must fit the weights {list(layer.weights.shape)}.")


def _passed(fields: Fields, tensors: Tensors) -> Passed:
    return Passed(
        api=cast(Api, fields.text("api", get_args(Api))),
        attn_mask=tensors.take_any(fields, "attn_mask"),
        key_padding_mask=tensors.take_any(fields, "key_padding_mask"),
        is_causal=fields.flag("is_causal"),
    )


def _norms(fields: Fields, tensors: Tensors) -> tuple[tuple[str, Tensor], ...]:
    found = []
    for i, pair in _each(fields, "norms"):
        if not isinstance(pair, list) or len(pair) != 2:
            raise InputError(f"norms.{i} must be a name and a tensor.")
        entry = Fields(f"norms.{i}.", dict(zip(("name", "norm"), pair, strict=True)))
        found.append((entry.text("name"), tensors.take(entry, "norm", (2,))))
    return tuple(found)


def _scenario(fields: Fields) -> tuple[Scenario | None, tuple[str, ...]]:
    """Return the settings, or None and why, as where a newer version of this package wrote them."""
    if not fields.given("scenario"):
        return None, ()
    read = settings.read_query(Scenario, fields.text("scenario"))
    why = str(read.errors[0]) if read.errors else ""
    if read.unknown:
        why = f"{read.unknown[0][:40]!r} is no setting of this version."
    try:
        if not why:
            return Scenario(**read.values), ()
    except MhaVizError as error:
        why = str(error)
    return None, (f"The run's settings could not be read, so it is shown without them: {why}",)


def _check_tokens(run: Run) -> None:
    for i, layer in enumerate(run.layers):
        items, _, length, keys = layer.weights.shape
        shared = layer.query_tokens is None or layer.key_tokens is None
        if run.inputs is not None and shared and run.inputs.query.shape[0] != items:
            raise InputError(f"layers.{i} must have the {run.inputs.query.shape[0]:,} items of the inputs.")
        for item in range(items):
            _check_lengths(f"layers.{i}.query_tokens", (run.query_tokens(item, i),), length)
            _check_lengths(f"layers.{i}.key_tokens", (run.key_tokens(item, i),), keys)


def _check_settings(run: Run) -> None:
    """Refuse settings of another layer: numbers are worked out again from settings and inputs."""
    s, inputs = run.scenario, run.inputs
    if s is None or inputs is None:
        return
    sizes = {"query": s.embed_dim, "key": s.kdim or s.embed_dim, "value": s.vdim or s.embed_dim}
    for name, size in sizes.items():
        found = getattr(inputs, name).shape[2]
        if found != size:
            raise InputError(f"inputs.{name} must have vectors of size {size:,} as the settings say, not {found:,}.")
    first = run.layers[0]
    if first.heads is None and first.weights.shape[1] != s.num_heads:
        raise InputError(f"layers.0.weights must have {s.num_heads} heads as the settings say.")
