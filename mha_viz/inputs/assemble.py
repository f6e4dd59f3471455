"""From a Scenario to the tensors and token labels that the layer is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter

import torch
from torch import Tensor

from mha_viz.errors import InputError, ScenarioError
from mha_viz.inputs import store
from mha_viz.inputs.synthetic import SOURCES, labels, sinusoidal
from mha_viz.inputs.table import parse_table
from mha_viz.inputs.text import embed, tokenise
from mha_viz.inputs.upload import pick
from mha_viz.remember import remembered
from mha_viz.scenario import INPUTS, Scenario
from mha_viz.settings import metadata

PAD = "<pad>"
DEFAULT_LEN = 16

Tokens = tuple[tuple[str, ...], ...]
Given = tuple[Tensor, tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What the layer is given, before it is moved to a device.

    Attributes:
        query: float32 [N, L, E] on the CPU.
        key: float32 [N, S, kdim]; the same object as `query` in self-attention.
        value: float32 [N, S, vdim]; the same object as `key` unless it was given separately.
        query_tokens: A label for each query token, for each item: N tuples of L texts.
        key_tokens: N tuples of S texts.
        key_lengths: Real length of each item's key, or None when no key is padding.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    query_tokens: Tokens
    key_tokens: Tokens
    key_lengths: tuple[int, ...] | None = None

    @classmethod
    def of(cls, query: Tensor, key: Tensor | None = None, value: Tensor | None = None) -> Inputs:
        """Wrap tensors of one's own: [L, E] or [N, L, E]; key defaults to query and value to key.

        Raises:
            InputError: A tensor has another number of dimensions, or the three do not fit each other.
        """
        given = {"query": query, "key": query if key is None else key}
        given["value"] = given["key"] if value is None else value
        batched = {id(tensor): _batched(tensor, role) for role, tensor in given.items()}
        q, k, v = (batched[id(tensor)] for tensor in given.values())
        if k.shape[:2] != v.shape[:2] or q.shape[0] != k.shape[0]:
            shapes = f"query {list(q.shape)}, key {list(k.shape)}, value {list(v.shape)}"
            raise InputError(f"key and value must share N and S, and query must share N with them, not {shapes}.")
        return cls(q, k, v, _numbered(q), _numbered(k))


@dataclass(frozen=True)
class Sizes:
    """N, L and S, known before any tensor is made."""

    batch_size: int
    query_len: int
    key_len: int


def sizes(s: Scenario) -> Sizes:
    """Return N, L and S of a Scenario without allocating its tensors.

    Raises:
        InputError: The text, table or file that decides a size cannot be read.
    """
    items, own_len = _own_sizes(s, "query")
    n = 1 if s.unbatched else s.batch_size or items
    length = s.query_len or own_len
    if not s.cross_attention:
        return Sizes(n, length, length)
    return Sizes(n, length, s.key_len or _own_sizes(s, "key")[1])


_INPUT_FIELDS = attrgetter(
    *(name for name, about in metadata(Scenario).items() if about.group == INPUTS),
    *("embed_dim", "kdim", "vdim", "seed", "padding"),
)


def _inputs_bytes(made: Inputs) -> int:
    return made.query.nbytes + made.key.nbytes + made.value.nbytes


@remembered(128, key=_INPUT_FIELDS, size=_inputs_bytes)
def build(s: Scenario) -> Inputs:
    """Return the tensors and labels of a Scenario; they are shared and must not be changed.

    Raises:
        InputError: A text, table or file cannot be read, or its vectors do not have the size the layer expects.
        ScenarioError: `padding` does not fit the batch.
    """
    size = sizes(s)
    made = {"text": _from_text, "table": _from_tables, "upload": _from_files}.get(s.source, _from_registry)(s, size)
    if s.padding == "auto":
        return made
    return replace(made, key_lengths=None if s.padding == "none" else _lengths(s.padding, size))


def _own_sizes(s: Scenario, role: str) -> tuple[int, int]:
    """Return (N, length) of what the user gave for `role`, falling back from key to query."""
    if s.source == "text":
        lines = _lines(s, role)
        return len(lines), max(len(line) for line in lines)
    if s.source in ("table", "upload"):
        read = _read_table if s.source == "table" else _read_file
        tensor = (read(s, role) or _required(read(s, "query"), s.source))[0]
        return tensor.shape[0], tensor.shape[1]
    return 1, s.query_len or DEFAULT_LEN


# Text


def _lines(s: Scenario, role: str) -> list[list[str]]:
    text = s.key_text if role == "key" and s.key_text.strip() else s.text
    lines = [tokens for line in text.splitlines() if (tokens := tokenise(line))]
    if not lines:
        raise InputError("text must hold at least one word, but it is empty: type a sentence.", field="text")
    return lines


def _from_text(s: Scenario, size: Sizes) -> Inputs:
    query_tokens = _fitted(_lines(s, "query"), size.batch_size, size.query_len, repeat=s.query_len is not None)
    query = _embedded(s, query_tokens, s.embed_dim)
    if not s.cross_attention:
        return Inputs(query, query, query, query_tokens, query_tokens, _real_lengths(query_tokens))
    key_tokens = _fitted(_lines(s, "key"), size.batch_size, size.key_len, repeat=s.key_len is not None)
    key = _embedded(s, key_tokens, s.kdim or s.embed_dim)
    value = key if s.kdim == s.vdim else _embedded(s, key_tokens, s.vdim or s.embed_dim)
    return Inputs(query, key, value, query_tokens, key_tokens, _real_lengths(key_tokens))


def _fitted(lines: list[list[str]], items: int, length: int, *, repeat: bool) -> Tokens:
    """Cut each line to `length`, or fill it: with itself if `repeat`, else with padding tokens."""

    def fit(line: list[str]) -> tuple[str, ...]:
        if repeat:
            return tuple(line[i % len(line)] for i in range(length))
        return (*line[:length], *[PAD] * (length - len(line)))

    fitted = [fit(line) for line in lines[:items]]
    return tuple(fitted[n % len(fitted)] for n in range(items))


def _embedded(s: Scenario, tokens: Tokens, dim: int) -> Tensor:
    vectors = torch.stack([embed(list(item), dim, s.seed) for item in tokens])  # [N, L, dim]
    return vectors + sinusoidal(vectors.shape[1], dim) if s.positions else vectors


def _real_lengths(tokens: Tokens) -> tuple[int, ...] | None:
    lengths = tuple(sum(token != PAD for token in item) for item in tokens)
    return lengths if min(lengths) < len(tokens[0]) else None


# Made-up patterns


def _from_registry(s: Scenario, size: Sizes) -> Inputs:
    generator = torch.Generator().manual_seed(s.seed)

    def draw(length: int, dim: int) -> Tensor:
        return SOURCES[s.source].function(size.batch_size, length, dim, generator)

    def named(length: int) -> Tokens:
        return (tuple(labels(s.source, length)),) * size.batch_size

    query = draw(size.query_len, s.embed_dim)
    if not s.cross_attention:
        return Inputs(query, query, query, named(size.query_len), named(size.query_len))
    key = draw(size.key_len, s.kdim or s.embed_dim)
    value = key if s.kdim == s.vdim else draw(size.key_len, s.vdim or s.embed_dim)
    return Inputs(query, key, value, named(size.query_len), named(size.key_len))


# Tables and files


def _read_table(s: Scenario, role: str) -> Given | None:
    text = {"query": s.table, "key": s.key_table, "value": s.value_table}[role]
    if not text.strip():
        return None
    table = parse_table(text)
    return table.values[None], table.labels


def _read_file(s: Scenario, role: str) -> Given | None:
    reference = {"query": s.query_file, "key": s.key_file, "value": s.value_file}[role]
    if not reference:
        return None
    upload = store.get(reference)
    return _batched(pick(upload, role), role), upload.labels


def _required(given: Given | None, source: str) -> Given:
    if given is None and source == "table":
        message = "table must hold numbers for the query, one token a line, but it is empty: type or paste some."
        raise InputError(message, field="table")
    if given is None:
        raise InputError("query_file must be an uploaded file, but none is given: upload one.", field="query_file")
    return given


def _from_tables(s: Scenario, size: Sizes) -> Inputs:
    return _from_given(s, size, _read_table)


def _from_files(s: Scenario, size: Sizes) -> Inputs:
    return _from_given(s, size, _read_file)


def _from_given(s: Scenario, size: Sizes, read: Callable[[Scenario, str], Given | None]) -> Inputs:
    """Cut or repeat given tensors to N, L and S; key falls back to query and value to key."""
    query, names = _required(read(s, "query"), s.source)
    key, key_names = read(s, "key") or (query, names)
    value, _ = read(s, "value") or (key, key_names)
    fitted: dict[tuple[int, int], Tensor] = {}

    def fit(tensor: Tensor, length: int, dim: int, role: str) -> Tensor:
        _check_dim(tensor, dim, role)
        if (id(tensor), length) not in fitted:
            rows = torch.arange(length) % tensor.shape[1]
            items = torch.arange(size.batch_size) % tensor.shape[0]
            fitted[id(tensor), length] = tensor[items][:, rows]
        return fitted[id(tensor), length]

    q = fit(query, size.query_len, s.embed_dim, "query")
    k = fit(key, size.key_len, s.kdim or s.embed_dim, "key")
    v = fit(value, size.key_len, s.vdim or s.embed_dim, "value")
    return Inputs(q, k, v, _named(names, q), _named(key_names, k))


def _named(names: tuple[str, ...], tensor: Tensor) -> Tokens:
    if not names:
        return _numbered(tensor)
    return (tuple(names[i % len(names)] for i in range(tensor.shape[1])),) * tensor.shape[0]


def _numbered(tensor: Tensor) -> Tokens:
    return (tuple(str(i) for i in range(tensor.shape[1])),) * tensor.shape[0]


def _batched(tensor: Tensor, role: str) -> Tensor:
    if tensor.dim() not in (2, 3) or 0 in tensor.shape:
        shape = list(tensor.shape)
        raise InputError(f"{role} must be [length, size] or [batch, length, size] and not empty, not {shape}.")
    return tensor if tensor.dim() == 3 else tensor[None]


def _check_dim(tensor: Tensor, dim: int, role: str) -> None:
    if tensor.shape[2] != dim:
        name = {"query": "embed_dim", "key": "kdim", "value": "vdim"}[role]
        message = (
            f"{role} has vectors of size {tensor.shape[2]}, but the layer expects {dim}: set {name}={tensor.shape[2]} "
            f"or give {dim} numbers a token."
        )
        raise InputError(message, field=name)


def _lengths(padding: str, size: Sizes) -> tuple[int, ...]:
    lengths = tuple(int(length) for length in padding.split(","))
    if len(lengths) != size.batch_size or max(lengths) > size.key_len:
        count = f"{size.batch_size} length{'s' if size.batch_size > 1 else ''}"
        message = f"padding must give {count} (one for each batch item) from 0 to {size.key_len}, not {padding!r}."
        raise ScenarioError(message, field="padding")
    return lengths
