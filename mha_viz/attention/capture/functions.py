"""Attention that is written out: calls of torch's functions outside of its attention modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mha_viz.attention.capture import softmax
from mha_viz.attention.capture.dot_product import DotProduct
from mha_viz.attention.capture.multihead import Multihead, heard
from mha_viz.attention.capture.projection import Projection
from mha_viz.attention.capture.random_state import RandomState
from mha_viz.attention.capture.store import Store
from mha_viz.attention.capture.watch import Reader
from mha_viz.attention.records import Passed

SOFTMAXES = (torch.softmax, Tensor.softmax, F.softmax, torch.special.softmax)
_MULTIHEAD = inspect.signature(F.multi_head_attention_forward)


class Functions:
    """The readers of such calls.

    Attributes:
        readers: One for each function.
    """

    def __init__(self, multihead: Multihead, store: Store, owner: Callable[[], str]) -> None:
        self._multihead = multihead
        self._store = store
        self._owner = owner
        self.readers: dict[Callable[..., Any], Reader] = {
            F.multi_head_attention_forward: self._multi_head_attention,
            F.scaled_dot_product_attention: self._dot_product,
            **dict.fromkeys(SOFTMAXES, self._softmax),
        }

    def _multi_head_attention(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = _MULTIHEAD.bind(*args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        random = RandomState.of(given["query"].device) if given["training"] and given["dropout_p"] > 0 else None
        result = function(*args, **kwargs)
        with self._store.reading(self._owner()):
            self._record(given, result, random)
        return result

    def _record(self, given: dict[str, Any], result: tuple[Tensor, Tensor | None], random: RandomState | None) -> None:
        taken = ("query", "key", "value", "attn_mask", "key_padding_mask", "is_causal", "need_weights")
        layer = {name: value for name, value in given.items() if name not in (*taken, "average_attn_weights")}
        masks = Passed("mha", given["attn_mask"], given["key_padding_mask"], given["is_causal"])
        call = Projection(given["query"], given["key"], given["value"], masks, layer)
        self._multihead.record(heard(self._owner(), call, masks, (result[0].detach(), result[1]), random))

    def _dot_product(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = DotProduct.of(*args, **kwargs)
        random = RandomState.of(call.query.device) if call.dropout > 0 else None
        output = function(*args, **kwargs)
        with self._store.reading(self._owner()):
            call.record(self._store, self._owner(), output.detach(), random)
        return output

    def _softmax(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        weights = function(*args, **kwargs)
        with self._store.reading(self._owner()):
            softmax.record(self._store, self._owner(), args, kwargs, weights.detach())
        return weights
