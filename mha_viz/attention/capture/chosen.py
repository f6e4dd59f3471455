"""Which part of what is seen is kept: layers by name, heads and batch items by index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from torch import Tensor

from mha_viz.attention.records import Call, LayerAttention
from mha_viz.errors import InputError


@dataclass(frozen=True)
class Chosen:
    """The choice; None stands for all.

    Attributes:
        layers: Names of modules or patterns such as `encoder.*`; a module stands for all that is in it.
        heads: Indices, in the order in which they are kept.
        items: Likewise, of the batch.
    """

    layers: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None
    items: tuple[int, ...] | None = None

    @classmethod
    def of(cls, layers: str | Iterable[str] | None, heads: Iterable[int] | None, items: Iterable[int] | None) -> Chosen:
        """Read the arguments of `capture`.

        Raises:
            InputError: A name is no string; an index is negative, comes twice or is no whole number; nothing is left.
        """
        names = None if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
        if names is not None and not (names and all(isinstance(name, str) for name in names)):
            given = list(names)
            raise InputError(f"layers must be names of modules or patterns, such as ['encoder.*'], not {given}.")
        return cls(names, _indices("heads", heads), _indices("items", items))

    def wants(self, name: str) -> bool:
        """Say whether the calls of a module are kept."""
        wanted = self.layers
        return wanted is None or any(fnmatchcase(name, w) or name.startswith(f"{w}.") for w in wanted)

    def share(self, batch: int, heads: int) -> tuple[int, int]:
        """Return how many of N items and of H heads are kept."""
        return len(_there(self.items, batch)), len(_there(self.heads, heads))

    def of_record(self, record: LayerAttention) -> LayerAttention:
        """Return the chosen heads and items of a record; masks with their own cells for each head follow."""
        n, h = record.weights.shape[:2]
        if self.heads is None and self.items is None:
            return record
        items, heads = _there(self.items, n), _there(self.heads, h)
        weights = record.weights[items][:, heads]
        attn = record.attn_mask
        if attn is not None and attn.dim() == 3:
            attn = attn.unflatten(0, (n, h))[items][:, heads].flatten(0, 1)
        padding = record.key_padding_mask
        return replace(
            record,
            weights=weights,
            output=None if record.output is None else record.output[items],
            returned=weights if record.returned is record.weights else _items_of(record.returned, items),
            attn_mask=attn,
            key_padding_mask=None if padding is None or len(padding) == 1 < n else padding[items],
            heads=None if self.heads is None else tuple(heads),
            items=None if self.items is None else tuple(items),
            call=None if record.call is None else _call_of(record.call, items),
        )

    def of_batch(self, tensor: Tensor) -> Tensor:
        """Return the chosen items of [N, ...]."""
        return tensor if self.items is None else tensor[_there(self.items, len(tensor))]


def _there(chosen: tuple[int, ...] | None, count: int) -> list[int]:
    return list(range(count)) if chosen is None else [index for index in chosen if index < count]


def _items_of(tensor: Tensor | None, items: list[int]) -> Tensor | None:
    return None if tensor is None else tensor[items]


def _call_of(call: Call, items: list[int]) -> Call:
    """Keep one object for inputs that were one object."""
    made = {id(x): x[items] for x in (call.query, call.key, call.value)}
    return replace(call, query=made[id(call.query)], key=made[id(call.key)], value=made[id(call.value)])


def _indices(name: str, given: Iterable[int] | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    found = tuple(given)
    whole = all(isinstance(index, int) and index >= 0 for index in found)
    if not (found and whole and len(set(found)) == len(found)):
        raise InputError(f"{name} must be different indices from 0 on, such as [0, 2], not {list(found)}.")
    return found
