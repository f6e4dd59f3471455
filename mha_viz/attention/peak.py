"""Peak memory of a forward, counted tensor by tensor on tensors that hold no data."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from mha_viz.attention.layer import constructor
from mha_viz.attention.memory import variables
from mha_viz.inputs.assemble import Sizes
from mha_viz.scenario import Scenario


class _Ledger(TorchDispatchMode):
    """Adds up the storages that are alive after each operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in pytree.tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = StorageWeakRef(leaf.untyped_storage())
                self.alive[storage.cdata] = storage, leaf.untyped_storage().nbytes()
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
        return result


def peak_bytes(s: Scenario, size: Sizes) -> int:
    """Return how many bytes of tensors the module's forward holds at its peak, apart from its arguments.

    The same call is repeated on tensors without data (device `meta`), and every operation's results are counted for
    as long as they live.
    """
    # Nothing in the count depends on these, and a change of seed or text must not count again.
    return _counted(replace(s, seed=0, source="normal", text="", key_text="", qk_scale=1.0), size, s.cross_attention)


@lru_cache(maxsize=256)
def _counted(s: Scenario, size: Sizes, cross_attention: bool) -> int:
    dtype = getattr(torch, s.dtype)

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    n, length, keys = size.batch_size, size.query_len, size.key_len
    query = empty(n, length, s.embed_dim)
    key = empty(n, keys, s.kdim or s.embed_dim) if cross_attention else query
    value = key if s.vdim == s.kdim else empty(n, keys, s.vdim or s.embed_dim)
    mask_dtype = dtype if s.score_bias or s.mask_encoding == "float" else torch.bool
    mask_rows = (n * s.num_heads,) if {"b", "h"} & variables(s) else ()
    attn_mask = empty(*mask_rows, length, keys, dtype=mask_dtype) if s.mask != "full" or s.score_bias else None
    padded = s.padding not in ("auto", "none")
    padding = empty(n, keys, dtype=mask_dtype) if padded else None
    options = {**constructor(s), "batch_first": True, "device": "meta", "dtype": dtype}
    layer = nn.MultiheadAttention(s.embed_dim, s.num_heads, **options).train(s.training)
    with torch.enable_grad(), _Ledger() as ledger:
        layer(query, key, value, attn_mask=attn_mask, key_padding_mask=padding, average_attn_weights=False)
        peak: int = ledger.peak
    return peak
