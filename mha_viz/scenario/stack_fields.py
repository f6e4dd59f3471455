"""The settings of a stack of layers around the attention: `nn.TransformerEncoder` and its relatives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from mha_viz import spelling
from mha_viz.settings import setting

STACK = "Stack"

ATTENTION, ENCODER, DECODER, ENCODER_DECODER = "attention", "encoder", "decoder", "encoder-decoder"


@dataclass(frozen=True)
class StackFields:
    """What kind of stack the attention stands in, and the masks that only a stack has; unused for the layer alone."""

    stack: str = setting(
        ATTENTION,
        group=STACK,
        choices=(ATTENTION, ENCODER, DECODER, ENCODER_DECODER),
        help="attention: one nn.MultiheadAttention alone. encoder: nn.TransformerEncoder over the query. decoder: "
        "nn.TransformerDecoder from the query (its target) to the key (its memory). encoder-decoder: nn.Transformer "
        "from the key (its source) to the query (its target).",
    )
    num_layers: int = setting(
        6,
        group=STACK,
        low=1,
        high=24,
        help="How many layers are stacked; of encoder-decoder, in each half.",
    )
    dim_feedforward: int | None = setting(
        None,
        group=STACK,
        low=1,
        high=65_536,
        help="Width of the feed-forward part that follows the attention in each layer. Empty: 4 times embed_dim.",
    )
    activation: str = setting(
        "relu",
        group=STACK,
        choices=("relu", "gelu"),
        help="The function between the two linear maps of the feed-forward part.",
    )
    norm_first: bool = setting(
        False,
        group=STACK,
        label="norm first",
        help="Pre-norm: normalise before attention and feed-forward. Off: after them, as torch does unless told "
        "otherwise.",
    )
    src_mask: str = setting(
        "full",
        group=STACK,
        max_chars=4_000,
        canonical=spelling.mask,
        lines=2,
        help="encoder-decoder: which source tokens each source token may attend to. The target's mask is `mask`.",
    )
    memory_mask: str = setting(
        "full",
        group=STACK,
        max_chars=4_000,
        canonical=spelling.mask,
        lines=2,
        help="decoder, encoder-decoder: which memory tokens (k) each target token (q) may attend to.",
    )
    tgt_padding: str = setting(
        "none",
        group=STACK,
        max_chars=8_000,
        canonical=partial(spelling.padding, name="tgt_padding"),
        help="decoder, encoder-decoder: the real length of each target, such as `5, 3, 4`. `auto`: the lengths of the "
        "texts, where they differ; `none`: no padding mask. The memory's is `padding`.",
    )

    @property
    def has_memory(self) -> bool:
        """Whether the stack attends from a target to a memory, and not only to itself."""
        return self.stack in (DECODER, ENCODER_DECODER)
