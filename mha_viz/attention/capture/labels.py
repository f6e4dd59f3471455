"""The user's tokens, given to the layers whose lengths they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mha_viz.attention.records import LayerAttention
from mha_viz.errors import InputError
from mha_viz.inputs.assemble import Tokens

# One list for all items of the batch, or one for each.
Given = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Labels:
    """One sequence's tokens.

    Attributes:
        name: Of the argument.
        items: A list for each batch item, or one for all.
        shared: Whether it is one for all.
    """

    name: str
    items: Tokens
    shared: bool

    @classmethod
    def of(cls, name: str, given: Given) -> Labels:
        """Read what the user gave.

        Raises:
            InputError: It is no list of strings and no list of lists of one length.
        """
        if isinstance(given, list | tuple) and given:
            shared = all(isinstance(token, str) for token in given)
            lists = [given] if shared else list(given)
            if all(isinstance(tokens, list | tuple) for tokens in lists):
                lengths = sorted({len(tokens) for tokens in lists})
                if len(lengths) == 1:
                    return cls(name, tuple(tuple(map(str, tokens)) for tokens in lists), shared)
                raise InputError(f"{name} must be as many for every batch item, padding included, not {lengths}.")
        raise InputError(f"{name} must be a list of strings, or one such list for each batch item, not {given!r:.60}.")

    @property
    def length(self) -> int:
        """How many tokens an item has."""
        return len(self.items[0])

    def for_axis(self, record: LayerAttention, length: int) -> Tokens | None:
        """Return the labels for each item of a record's axis, or None where they do not fit it."""
        count = len(record.weights)
        if length != self.length:
            return None
        if self.shared:
            return self.items * count
        if record.items is not None and max(record.items) < len(self.items):
            return tuple(self.items[item] for item in record.items)
        return self.items if len(self.items) == count and record.items is None else None


def labelled(
    records: Sequence[LayerAttention], crossed: Sequence[bool], tokens: Given | None, memory_tokens: Given | None
) -> tuple[LayerAttention, ...]:
    """Return the records with labels on the axes that they fit.

    Args:
        records: In call order.
        crossed: For each, whether its keys are another sequence than its queries.
        tokens: Of the queries of cross-attention, and of layers that know no other sequence.
        memory_tokens: Of the keys of cross-attention, and of the encoder that made them.

    Raises:
        InputError: The labels fit no axis of any record.
    """
    own = None if tokens is None else Labels.of("tokens", tokens)
    memory = None if memory_tokens is None else Labels.of("memory_tokens", memory_tokens)
    made = []
    used = set()
    for record, cross, encodes in zip(records, crossed, _encoding(records, crossed), strict=True):
        length, keys = _lengths(record)
        other = memory if cross else _sequence((memory, own) if encodes else (own, memory), record, length)
        query = own if cross else other
        labels = [(query, length), (other, keys)]
        found = [None if who is None else who.for_axis(record, size) for who, size in labels]
        used |= {who.name for (who, _), got in zip(labels, found, strict=True) if who and got}
        made.append(replace(record, query_tokens=found[0], key_tokens=found[1]))
    for given in (own, memory):
        if given is not None and given.name not in used:
            raise InputError(_misfit(given, records))
    return tuple(made)


def _sequence(choices: tuple[Labels | None, ...], record: LayerAttention, length: int) -> Labels | None:
    """Return the first of two sequences that fits, or else the first that is there, whose keys may fit."""
    there = [labels for labels in choices if labels is not None]
    fitting = (labels for labels in there if labels.for_axis(record, length))
    return next(fitting, there[0] if there else None)


def _encoding(records: Sequence[LayerAttention], crossed: Sequence[bool]) -> list[bool]:
    """Say which records are an encoder's: self-attention before all cross-attention, in blocks that have none."""
    names = [record.name.partition(" (call ")[0] for record in records]
    before = set(names[: crossed.index(True)]) if True in crossed else set()
    blocks = {_block(name) for name, cross in zip(names, crossed, strict=True) if cross}
    return [name in before and _block(name) not in blocks for name in names]


def _block(name: str) -> str:
    return name.rpartition(".")[0]


def _lengths(record: LayerAttention) -> tuple[int, int]:
    """Return L and S without the extra keys."""
    return record.weights.shape[2], record.weights.shape[3] - len(record.extra_keys)


def _misfit(labels: Labels, records: Sequence[LayerAttention]) -> str:
    if any(labels.length in _lengths(record) for record in records) and not labels.shared:
        batches = ", ".join(map(str, sorted({len(record.weights) for record in records})))
        return f"{labels.name} must hold a list for each batch item, N = {batches}, not {len(labels.items)} lists."
    found = sorted({length for record in records for length in _lengths(record)})
    there = ", ".join(map(str, found))
    return f"{labels.name} must be as many as the queries or keys of a layer: {there}, not {labels.length}."
