"""Lines of an exported script that make masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mha_viz import masks
from mha_viz.attention.layer import encoding_of
from mha_viz.masks import ScoreBias
from mha_viz.scenario import Scenario


def attn_mask(s: Scenario, name: str, mask: str, score_bias: str = "") -> Iterator[str]:
    """Yield the lines that leave a mask [L, S] or [N * H, L, S], or None, under a name; they use N, H, L and S."""
    bias = masks.score_bias(score_bias) if score_bias else None
    if mask == "full" and bias is None:
        yield f"{name} = None"
    else:
        yield from _attn_mask(s, name, mask, bias)


def key_padding_mask(s: Scenario, name: str, lengths: Sequence[int] | None, size: str) -> Iterator[str]:
    """Yield the lines that leave a padding mask [N, S], or None, under a name; `size` is what the script calls S."""
    if lengths is None:
        yield f"{name} = None"
        return
    yield f"lengths = torch.tensor({list(lengths)})"
    yield f"{name} = torch.arange({size}) >= lengths[:, None]  # [N, {size}], True = ignore"
    if encoding_of(s) == "float":
        zeros = f"torch.zeros(N, {size}, dtype=torch.{s.dtype})"
        yield f'{name} = {zeros}.masked_fill({name}, float("-inf"))'


def _attn_mask(s: Scenario, name: str, text: str, bias: ScoreBias | None) -> Iterator[str]:
    mask = masks.mask(text)
    used = mask.variables | (bias.variables if bias else frozenset())
    indices = {"b": "N).view(N, 1, 1, 1", "h": "H).view(H, 1, 1", "q": "L).view(L, 1", "k": "S"}
    for index, size in indices.items():
        if index in used:
            yield f"{index} = torch.arange({size})"
    whole = "N, H, L, S" if used & {"b", "h"} else "L, S"
    yield f"allowed = torch.broadcast_to({mask.code()}, ({whole}))  # True = may attend"
    if encoding_of(s) == "float":
        added = f"torch.broadcast_to(torch.as_tensor({bias.code()}), ({whole}))" if bias else f"torch.zeros({whole})"
        yield f'{name} = {added}.to(torch.{s.dtype}).masked_fill(~allowed, float("-inf"))  # added to the scores'
    else:
        yield f"{name} = ~allowed  # nn.MultiheadAttention reads True as: ignore"
    if used & {"b", "h"}:
        yield f"{name} = {name}.reshape(N * H, L, S)  # index n * H + h"
