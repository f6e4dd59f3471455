r"""The steps inside `nn.MultiheadAttention`, one after the other.

They are those of Vaswani et al. 2017 (Attention Is All You Need), section 3.2: softmax(Q·Kᵀ / sqrt(D)) · V for each
head, whose results are put side by side and projected once more; with the masks, the extra keys and the dropout of
https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiheadAttention.html.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.attention import formulas
from mha_viz.attention.direct import joined, projected
from mha_viz.attention.ingredients import Ingredients

STEPS = {
    "query": ("query, as given", "N L E"),
    "key": ("key, as given", "N S kdim"),
    "value": ("value, as given", "N S vdim"),
    "q": ("query, projected", "N L E"),
    "k": ("key, projected", "N S E"),
    "v": ("value, projected", "N S E"),
    "q_heads": ("query, split into heads", "N H L D"),
    "k_heads": ("key, split into heads", "N H S D"),
    "v_heads": ("value, split into heads", "N H S D"),
    "scores": ("scores, query · key", "N H L S"),
    "scaled": ("scores, scaled", "N H L S"),
    "masked": ("scores + mask", "N H L S"),
    "softmax": ("softmax of each row", "N H L S"),
    "weights": ("weights, after dropout", "N H L S"),
    "heads": ("weights · value", "N H L D"),
    "concatenated": ("heads side by side", "N L E"),
    "output": ("output, projected", "N L E"),
}
"""What stands after each step, and what each of its dimensions counts, by name and in order."""


@dataclass(frozen=True, eq=False)
class Stage:
    """What stands after one step.

    Attributes:
        name: Such as `scores`.
        title: What it is, in a few words.
        formula: How it comes about, LaTeX.
        axes: What each dimension counts: N, H, L, S (from the projection on with extra keys), E, D, kdim or vdim.
        tensor: The numbers.
    """

    name: str
    title: str
    formula: str
    axes: tuple[str, ...]
    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of each dimension."""
        return tuple(self.tensor.shape)


def stages(given: Ingredients) -> tuple[Stage, ...]:
    """Go through the steps and return what stands after each, in the order of `STEPS`."""
    with torch.no_grad():
        tensors = _tensors(given)
    latex = formulas.of_stages(given)
    return tuple(
        Stage(name, title, latex[name], tuple(axes.split()), tensors[name]) for name, (title, axes) in STEPS.items()
    )


def _tensors(given: Ingredients) -> dict[str, Tensor]:
    call = given.call
    q, k, v = projected(call.module, call.query, call.key, call.value)  # split already; extra keys among k and v
    scaled = _scaled(q, k, given.temperature)
    masked = scaled if given.mask is None else scaled + given.mask
    softmax = masked.softmax(dim=-1)
    weights = softmax if given.factor is None else softmax * given.factor
    heads = weights @ v
    if given.off:
        heads = heads.index_fill(1, torch.tensor(given.off, device=heads.device), 0)
    return {
        "query": call.query,
        "key": call.key,
        "value": call.value,
        "q": _side_by_side(q),
        "k": _side_by_side(k),
        "v": _side_by_side(v),
        "q_heads": q,
        "k_heads": k,
        "v_heads": v,
        "scores": q @ k.mT,
        "scaled": scaled,
        "masked": masked,
        "softmax": softmax,
        "weights": weights,
        "heads": heads,
        "concatenated": _side_by_side(heads),
        "output": joined(call.module, heads),
    }


def _scaled(q: Tensor, k: Tensor, temperature: float) -> Tensor:
    """Return [N, H, L, S], made as nn.MultiheadAttention makes it: q is scaled, not the product.

    Scaled afterwards, the product is rounded otherwise, which in float32 comes to 4e-6 in the weights of long rows
    with large scores.
    """
    scaled = (q * math.sqrt(1 / q.shape[-1])) @ k.mT
    return scaled if temperature == 1 else scaled / temperature


def _side_by_side(heads: Tensor) -> Tensor:
    """Return [N, H, L, D] as [N, L, E]."""
    return heads.transpose(1, 2).flatten(2)
