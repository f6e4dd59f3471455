"""How long the vectors of the residual stream are, through the depth of a stack of torch's layers."""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

from mha_viz.attention.capture import nested
from mha_viz.attention.capture.store import Store, copy_of

BLOCKS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


class Norms:
    """Measures what goes into the first block of a stack and what comes out of each."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._last: Tensor | None = None
        self._seen: Counter[str] = Counter()

    def block(self, name: str, block: nn.Module, stream: Tensor, output: Tensor, length: int | None) -> None:
        """Measure one block's call.

        Args:
            name: Of the block.
            block: Itself.
            stream: What it was given; what another block gave back is not measured again.
            output: What it gave back.
            length: L, where the tensors may be nested.
        """
        self._seen[name] += 1
        label = name if self._seen[name] == 1 else f"{name} (call {self._seen[name]})"
        if stream is not self._last:
            self._add(f"{label} input", block, stream, length)
        self._add(label, block, output, length)
        self._last = output

    def forget(self) -> None:
        """Let go of the last block's output."""
        self._last = None

    def _add(self, label: str, block: nn.Module, x: Tensor, length: int | None) -> None:
        if not (isinstance(x, Tensor) and x.dim() in (2, 3)):
            return
        with torch.no_grad():
            x = nested.padded(x.detach(), length)
            x = x[None] if x.dim() == 2 else x if _batch_first(block) else x.transpose(0, 1)
            norms = torch.linalg.vector_norm(x, dim=-1)  # [N, L]
        self._store.norms.append((label, copy_of(self._store.chosen.of_batch(norms))))


def _batch_first(block: nn.Module) -> bool:
    return bool(getattr(getattr(block, "self_attn", None), "batch_first", True))
