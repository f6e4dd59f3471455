"""The settings of the layer itself, and of the call that runs it."""

from __future__ import annotations

from dataclasses import dataclass

from mha_viz import spelling
from mha_viz.settings import setting

LAYER, RUN = "Layer", "Run"

MAX_DIM = 16_384


@dataclass(frozen=True)
class LayerFields:
    """What the constructor of `nn.MultiheadAttention` takes."""

    embed_dim: int = setting(64, group=LAYER, low=1, high=MAX_DIM, help="E, the size of each token's vector.")
    num_heads: int = setting(
        4, group=LAYER, first=True, low=1, high=256, help="H, how many heads share embed_dim; it must divide embed_dim."
    )
    qk_scale: float = setting(
        3.0,
        group=LAYER,
        low=0.0,
        high=1_000.0,
        label="query scale",
        help="Multiplies the query projection of the untrained layer, so that scores are this many times larger and "
        "the heads differ visibly. 1 is torch's own initialisation, which is nearly uniform.",
    )
    dropout: float = setting(
        0.0,
        group=LAYER,
        low=0.0,
        high=1.0,
        help="Share of weights set to 0 in train mode; the others are divided by 1 - dropout, so rows no longer "
        "sum to 1.",
    )
    bias: bool = setting(True, group=LAYER, help="Give the projections a bias vector.")
    add_bias_kv: bool = setting(
        False, group=LAYER, help="Append one learned key and value: weights get an extra column, never masked."
    )
    add_zero_attn: bool = setting(
        False, group=LAYER, help="Append one key and value of zeros: weights get an extra column, never masked."
    )
    kdim: int | None = setting(
        None, group=LAYER, low=1, high=MAX_DIM, help="Size of the key's vectors. Empty: embed_dim."
    )
    vdim: int | None = setting(
        None, group=LAYER, low=1, high=MAX_DIM, help="Size of the value's vectors. Empty: embed_dim."
    )
    batch_first: bool = setting(
        True,
        group=LAYER,
        help="Hand over query as [N, L, E] (True) or [L, N, E] (False, the module's default). The weights are the "
        "same.",
    )


@dataclass(frozen=True)
class RunFields:
    """How the layer is called, and where."""

    training: bool = setting(
        False, group=RUN, label="train mode", help="Train mode: dropout is active. Off: eval mode."
    )
    need_weights: bool = setting(
        True,
        group=RUN,
        help="What your call asks for. Off: the module returns no weights and may take a fused path; the picture "
        "then comes from a second call.",
    )
    average_attn_weights: bool = setting(
        False,
        group=RUN,
        help="What your call asks for. On (the module's default): it returns only the average over heads; the "
        "heads then come from a second call.",
    )
    seed: int = setting(
        0, group=RUN, first=True, low=0, high=2**32 - 1, help="Seed of the layer's weights, inputs and dropout."
    )
    dtype: str = setting(
        "float32",
        group=RUN,
        choices=("float32", "float64", "bfloat16", "float16"),
        canonical=spelling.dtype,
        help="Number format of the layer and its inputs.",
    )
    device: str = setting("cpu", group=RUN, canonical=spelling.device, help="Where the layer runs.")
