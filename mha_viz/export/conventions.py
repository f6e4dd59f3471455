"""One mask in every library's convention: code that builds it from nothing and hands it over.

The code expects the tensors of a call, `query`, `key` and `value` (and `mha` where a module is called), in the layout
that its comment says. It is what the `Mask` itself computes: each library gets the same expression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from mha_viz.masks.base import Mask
from mha_viz.masks.evaluation import Magnitude
from mha_viz.masks.printing import Piece, TorchPrinter

BLOCK = 128  # queries and keys in a block of FlexAttention
INT32_MAX = 2**31 - 1


@dataclass(frozen=True)
class _Call:
    """A mask and the sizes it is used with."""

    mask: Mask
    sizes: tuple[int, int, int, int]  # N, H, L, S

    @property
    def used(self) -> frozenset[str]:
        """The indices and sizes that the mask mentions."""
        return self.mask.variables

    @property
    def whole(self) -> str:
        """The shape of the mask as code: [L, S], or [N, H, L, S] where batch items or heads differ."""
        return "(N, H, L, S)" if self.used & {"b", "h"} else "(L, S)"

    @property
    def is_large(self) -> bool:
        """Whether its numbers may leave 32 bits on the way."""
        largest = _Largest()
        self.mask.fold(largest)
        return largest.reached > INT32_MAX


class _Largest(Magnitude):
    """Keeps the largest number that any part of an expression can reach."""

    reached = 0

    def binary(self, symbol: str, left: int, right: int) -> int:
        """Bound arithmetic, as `Magnitude` does, and remember the bound."""
        bound = super().binary(symbol, left, right)
        self.reached = max(self.reached, bound)
        return bound


def conventions(mask: Mask, *, query_len: int, key_len: int, batch_size: int = 1, num_heads: int = 1) -> dict[str, str]:
    """Return code that builds a mask and uses it, for each library that has its own convention.

    Args:
        mask: What each query may attend to.
        query_len: L.
        key_len: S.
        batch_size: N.
        num_heads: H.

    Returns:
        Label to Python source. The first five need only torch and leave what they made in `attn_mask` (or
        `block_mask`) and `output`; the torch code expects batch_first inputs.
    """
    call = _Call(mask, (batch_size, num_heads, query_len, key_len))
    return {label: "\n".join(write(call)) + "\n" for label, write in WRITERS.items()}


def sparsity(mask: Mask, *, query_len: int, key_len: int, batch_size: int = 1, num_heads: int = 1) -> float:
    """Return the share of 128 x 128 blocks in which nothing is allowed, from 0 to 1; FlexAttention skips them.

    It is computed from one row of blocks at a time. `BlockMask.sparsity()` says the same in percent where L and S are
    multiples of 128; elsewhere it counts the cells that blocks at the edges do not have.

    Args:
        mask: What each query may attend to.
        query_len: L.
        key_len: S.
        batch_size: N.
        num_heads: H.
    """
    kept = total = 0
    for start in range(0, query_len, BLOCK):
        rows = slice(start, min(start + BLOCK, query_len))
        allowed = mask.allowed(query_len, key_len, batch_size=batch_size, num_heads=num_heads, rows=rows)
        keys = allowed.any(-2)  # [..., S]
        blocks = torch.stack([block.any(-1) for block in keys.split(BLOCK, dim=-1)])
        kept += int(blocks.count_nonzero())
        total += blocks.numel()
    return 1 - kept / total


# PyTorch


def _allowed(call: _Call) -> Iterator[str]:
    yield "import torch"
    yield ""
    yield from _sizes(call)
    yield from _indices(call, "torch")
    yield f"allowed = torch.broadcast_to({call.mask.code()}, {call.whole})  # True = may attend"


def _sizes(call: _Call) -> Iterator[str]:
    yield f"N, H, L, S = {', '.join(map(str, call.sizes))}"


def _indices(call: _Call, module: str) -> Iterator[str]:
    shapes = {"b": "N).reshape(N, 1, 1, 1", "h": "H).reshape(H, 1, 1", "q": "L).reshape(L, 1", "k": "S"}
    for name, shape in shapes.items():
        if name in call.used:
            yield f"{name} = {module}.arange({shape})"


def _mha_bool(call: _Call) -> Iterator[str]:
    yield from _allowed(call)
    yield "attn_mask = ~allowed  # nn.MultiheadAttention reads True as: ignore"
    yield from _called(call.whole)


def _mha_float(call: _Call) -> Iterator[str]:
    yield from _allowed(call)
    yield f'attn_mask = torch.zeros({call.whole}).masked_fill(~allowed, float("-inf"))  # added to the scores'
    yield from _called(call.whole)


def _mha_3d(call: _Call) -> Iterator[str]:
    yield from _allowed(call)
    if call.whole == "(L, S)":
        yield "allowed = allowed.expand(N, H, L, S)"
    yield "attn_mask = ~allowed  # nn.MultiheadAttention reads True as: ignore"
    yield from _called("(N, H, L, S)")


def _called(shape: str) -> Iterator[str]:
    if shape != "(L, S)":
        yield "attn_mask = attn_mask.reshape(N * H, L, S)  # index n * H + h: the heads of item 0 first"
    yield ""
    yield "# mha = nn.MultiheadAttention(E, H, batch_first=True); query [N, L, E], key and value [N, S, E]"
    yield "output, weights = mha(query, key, value, attn_mask=attn_mask, average_attn_weights=False)"


def _sdpa(call: _Call) -> Iterator[str]:
    yield from _allowed(call)
    yield "attn_mask = allowed  # scaled_dot_product_attention reads True as: attend"
    yield ""
    yield "# query [N, H, L, D], key and value [N, H, S, D]"
    yield "output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=attn_mask)"


def _flex(call: _Call) -> Iterator[str]:
    yield "import torch"
    yield "from torch.nn.attention.flex_attention import create_block_mask, flex_attention"
    yield ""
    yield from _sizes(call)
    yield ""
    yield ""
    yield "def mask_mod(b, h, q_idx, kv_idx):"
    wide = ".long()" if call.is_large else ""  # compiled code counts in 32 bits
    yield f"    q, k = q_idx{wide}, kv_idx{wide}"
    yield f"    return {call.mask.code()}  # True = may attend"
    yield ""
    yield ""
    batch, heads = ("N" if "b" in call.used else "None"), ("H" if "h" in call.used else "None")
    yield f"block_mask = create_block_mask(mask_mod, {batch}, {heads}, L, S, device=query.device)"
    yield ""
    yield "# query [N, H, L, D], key and value [N, H, S, D]; torch.compile(flex_attention) is what makes it fast"
    yield "output = flex_attention(query, key, value, block_mask=block_mask)"


def _hugging_face(call: _Call) -> Iterator[str]:
    yield from _allowed(call)
    if not call.used & {"q", "h", "L", "H"}:
        yield "attention_mask = allowed.expand(N, H, L, S)[:, 0, 0].long()  # [N, S], 1 = attend"
        yield "# model(input_ids, attention_mask=attention_mask): a decoder adds its own causal mask"
        return
    first = "H" if "h" in call.used else "1"
    yield "# A mask of 1 and 0 says which keys are real, [N, S]. What differs between queries needs four dimensions,"
    yield "# and is then added to the scores: 0 = attend, the lowest number of the model's dtype = ignore."
    yield f"attention_mask = allowed.expand(N, H, L, S)[:, :{first}].float()  # [N, {first}, L, S], 1 = attend"
    yield "attention_mask = (1.0 - attention_mask) * torch.finfo(torch.float32).min"
    yield "# model(input_ids, attention_mask=attention_mask)"


# Other libraries: the expression with their functions in place of torch's


class _ArrayPrinter(TorchPrinter):
    """Writes a mask over arrays of NumPy, or of a library with NumPy's functions."""

    def __init__(self, module: str) -> None:
        self.module = module

    def _nearer(self, name: str, left: Piece, right: Piece) -> Piece:
        if not (left.is_tensor or right.is_tensor):
            return super()._nearer(name, left, right)
        return Piece(f"{self.module}.{name}imum({left.text}, {right.text})", is_tensor=True)

    def _link(self, symbol: str, left: Piece, right: Piece) -> Piece:
        link = super()._link(symbol, left, right)
        return link._replace(text=link.text.replace("torch.tensor(", f"{self.module}.asarray("))


def _array(call: _Call, module: str) -> Iterator[str]:
    yield from _sizes(call)
    yield from _indices(call, module)
    code = call.mask.fold(_ArrayPrinter(module)).text
    yield f"mask = {module}.broadcast_to({code}, (N, H, L, S))  # True = may attend"


def _jax(call: _Call) -> Iterator[str]:
    if call.is_large:
        yield "import jax"
    yield "import jax.numpy as jnp"
    yield "from flax import linen as nn"
    yield ""
    if call.is_large:
        yield 'jax.config.update("jax_enable_x64", True)  # this mask counts beyond 32 bits'
    yield from _array(call, "jnp")
    yield ""
    yield "# layer = nn.MultiHeadDotProductAttention(num_heads=H), bound to its parameters; query [N, L, E], key and"
    yield "# value [N, S, E]. jax.nn.dot_product_attention, with query [N, L, H, D], reads the mask in the same way."
    yield "output = layer(query, key, value, mask=mask)"


def _keras(call: _Call) -> Iterator[str]:
    yield "import keras"
    yield "import numpy as np"
    yield ""
    yield from _array(call, "np")
    if "h" not in call.used:
        yield "mask = mask[:, 0]  # [N, L, S], the same for every head"
    yield ""
    yield "# layer = keras.layers.MultiHeadAttention(num_heads=H, key_dim=D); query [N, L, E], key and value [N, S, E]"
    yield "output = layer(query, value, key, attention_mask=mask)"


WRITERS: dict[str, Callable[[_Call], Iterator[str]]] = {
    "nn.MultiheadAttention, bool": _mha_bool,
    "nn.MultiheadAttention, float": _mha_float,
    "nn.MultiheadAttention, 3-D": _mha_3d,
    "F.scaled_dot_product_attention": _sdpa,
    "FlexAttention": _flex,
    "Hugging Face": _hugging_face,
    "JAX and Flax": _jax,
    "Keras": _keras,
}
