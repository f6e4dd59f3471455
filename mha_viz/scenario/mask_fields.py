"""The settings that say which keys each query may attend to."""

from __future__ import annotations

from dataclasses import dataclass

from mha_viz import spelling
from mha_viz.settings import setting

MASKS = "Masks"


@dataclass(frozen=True)
class MaskFields:
    """Masks, score bias and padding of one attention layer, and how they are handed over."""

    mask: str = setting(
        "causal",
        group=MASKS,
        first=True,
        max_chars=4_000,
        canonical=spelling.mask,
        lines=2,
        help="Which keys each query may attend to, such as `causal & window(4)` or `(q - k < 3) | (k == 0)`. "
        "The page Reference lists all patterns.",
    )
    score_bias: str = setting(
        "",
        group=MASKS,
        max_chars=4_000,
        canonical=spelling.bias,
        help="Numbers added to the scores before the softmax, such as `alibi` or `-abs(q - k) / 2`.",
    )
    padding: str = setting(
        "auto",
        group=MASKS,
        max_chars=8_000,
        canonical=spelling.padding,
        help="The real length of each batch item, such as `5, 3, 4`: keys after it are hidden by key_padding_mask. "
        "`auto`: the lengths of the texts, where they differ; `none`: no padding mask.",
    )
    mask_encoding: str = setting(
        "bool",
        group=MASKS,
        choices=("bool", "float"),
        help="How masks reach the module: bool (True = ignore) or float (0 = keep, -inf = ignore). The weights are "
        "the same.",
    )
    is_causal: bool = setting(
        False,
        group=MASKS,
        help="The hint is_causal=True. With weights asked for, the module still uses attn_mask; without a mask it "
        "refuses the hint.",
    )
