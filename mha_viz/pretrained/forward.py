"""One forward of a pretrained model, with every attention in it recorded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.attention.device import synchronise
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.inputs.assemble import Tokens
from mha_viz.pretrained.inside import call_of
from mha_viz.pretrained.listening import Heard, listening, maker
from mha_viz.pretrained.loading import Loaded
from mha_viz.pretrained.masking import module_masks

# The lists of weights that models return, each with who attends and who is attended to.
LISTS = {
    "encoder_attentions": ("source", "source"),
    "decoder_attentions": ("target", "target"),
    "cross_attentions": ("target", "source"),
    "attentions": ("source", "source"),
}


@dataclass(frozen=True, eq=False)
class Sequence:
    """What an encoder or a decoder reads.

    Attributes:
        items: N.
        tokens: N tuples of L labels; None where L is known only from the weights.
        padding: Bool [N, L], True where padding; None without any.
    """

    items: int
    tokens: Tokens | None = None
    padding: Tensor | None = None

    @property
    def length(self) -> int:
        """L, or 0 where it is not known."""
        return len(self.tokens[0]) if self.tokens else 0


def run_model(loaded: Loaded, arguments: Mapping[str, Any], sequences: Mapping[str, Sequence]) -> Run:
    """Run a model once and return its attention, in the order in which its layers were called.

    Args:
        loaded: The model.
        arguments: Of its forward, on its device.
        sequences: What "source" and, beside it in an encoder-decoder, "target" hold.

    Raises:
        InputError: The model refuses the call, or returns no weights [N, H, L, S] of these sequences.
    """
    with loaded.lock, torch.no_grad():
        outputs, heard, seconds = _called(loaded, arguments)
        entries = list(_entries(outputs, heard, sequences))
        kept = sorted((e for e in entries if e.fits), key=lambda entry: entry.place)
        if not kept:
            raise InputError(f"{loaded.title} returns no attention weights of the form [N, H, L, S].", field="model")
        layers = tuple(_record(loaded.model, entry) for entry in kept)
    left_out = len(entries) - len(kept)
    notes = (
        (f"{left_out} of {len(entries)} attentions do not have the form [N, H, L, S] and were left out.",)
        if left_out
        else ()
    )
    return Run(
        layers,
        None,
        None,
        loaded.device,
        str(kept[0].weights.dtype).removeprefix("torch."),
        seconds,
        name=loaded.title,
        norms=tuple(_norms(outputs)),
        notes=(*loaded.notes, *notes),
    )


@dataclass(frozen=True, eq=False)
class _Entry:
    """Weights that the model returned, and the call that made them, if it was heard."""

    name: str
    place: int
    weights: Tensor
    query: Sequence
    key: Sequence
    heard: Heard | None
    cross: bool

    @property
    def fits(self) -> bool:
        shape = self.weights.shape
        if len(shape) != 4 or shape[0] != self.query.items:
            return False
        return shape[2:] == (self.query.length or shape[2], self.key.length or shape[2])


def _called(loaded: Loaded, arguments: Mapping[str, Any]) -> tuple[Any, list[Heard], float]:
    with listening(loaded.model) as heard:
        synchronise(loaded.device)
        start = time.perf_counter()
        try:
            outputs = loaded.model(**arguments, output_attentions=True, output_hidden_states=True, return_dict=True)
        except (
            RuntimeError,
            ValueError,
            TypeError,
            IndexError,
            KeyError,
            AttributeError,
            NotImplementedError,
        ) as error:
            said = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{loaded.title} refused the call: {said}", field="model") from error
        synchronise(loaded.device)
        return outputs, heard, time.perf_counter() - start


def _entries(outputs: Any, heard: list[Heard], sequences: Mapping[str, Sequence]) -> Iterator[_Entry]:
    for name, (query, key) in LISTS.items():
        given = getattr(outputs, name, None) or ()
        for index, weights in enumerate(w for w in given if isinstance(w, Tensor)):
            made = maker(heard, weights)
            call = None if made is None else heard[made]
            yield _Entry(
                name=f"{name}.{index}" if call is None else call.path,
                place=len(heard) if made is None else made,
                weights=weights,
                query=sequences[query],
                key=sequences[key],
                heard=call,
                cross=query != key,
            )


def _record(model: nn.Module, entry: _Entry) -> LayerAttention:
    heard, padding = entry.heard, entry.key.padding
    attn_mask, key_padding_mask = module_masks(heard.arguments if heard else {}, padding, entry.weights)
    masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask}
    call = output = None
    if heard is not None:
        parent = model.get_submodule(heard.path.rpartition(".")[0])
        call, output = call_of(heard, parent, masks, entry.weights, cross=entry.cross)
    return LayerAttention(
        name=entry.name,
        weights=entry.weights,
        output=output,
        returned=entry.weights,
        output_change=0.0,
        attn_mask=attn_mask,
        key_padding_mask=key_padding_mask,
        how="softmax",
        query_tokens=entry.query.tokens,
        key_tokens=entry.key.tokens,
        call=call,
    )


def _norms(outputs: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the norms [N, L] of the hidden states; the last ones are the model's output, often normalised once more."""
    for attribute in ("encoder_hidden_states", "decoder_hidden_states", "hidden_states"):
        states = getattr(outputs, attribute, None) or ()
        stack = attribute.removesuffix("hidden_states").replace("_", " ")
        for index, state in enumerate(states):
            if isinstance(state, Tensor) and state.dim() == 3:
                place = "embeddings" if index == 0 else "output" if index == len(states) - 1 else f"block {index}"
                yield f"{stack}{place}", torch.linalg.vector_norm(state, dim=-1)
