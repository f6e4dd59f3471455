"""Stacks of layers: the tutorials' encoder layers as a whole, and encoders and decoders of several layers."""

from __future__ import annotations

from mha_viz.gallery.example import Example
from mha_viz.scenario import DECODER, ENCODER, ENCODER_DECODER, Scenario

GROUP = "Stacks of layers"

STACKS = (
    Example(
        "Encoder, 6 layers",
        GROUP,
        "Six encoder layers over a sentence: untrained copies of one layer, yet each attends to other vectors.",
        Scenario(stack=ENCODER, mask="full"),
    ),
    Example(
        "Causal window, 4 layers",
        GROUP,
        "Each layer looks 3 tokens back; through 4 of them, an output depends on tokens up to 12 back.",
        Scenario(stack=ENCODER, mask="causal & window(3)", num_layers=4, norm_first=True, activation="gelu"),
    ),
    Example(
        "Pre-norm, 12 layers",
        GROUP,
        "With norm_first the residual stream is never normalised: its norm grows with every layer.",
        Scenario(stack=ENCODER, mask="full", num_layers=12, norm_first=True, activation="gelu"),
    ),
    Example(
        "Translation (encoder-decoder)",
        GROUP,
        "nn.Transformer: the encoder reads the source, the decoder its own past and, by cross-attention, the source.",
        Scenario(
            text="die Katze schläft auf der Matte",
            key_text="the cat is sleeping on the mat",
            stack=ENCODER_DECODER,
            num_layers=3,
        ),
    ),
    Example(
        "Decoder, padded memory",
        GROUP,
        "Causal over the target, and in cross-attention the memory's filled-up end is hidden from every query.",
        Scenario(
            text="die Katze schläft\nder Hund bellt",
            key_text="the cat is sleeping on the mat\nthe dog barks",
            stack=DECODER,
            num_layers=2,
        ),
    ),
    Example(
        "Tutorial: encoder layer, batch first",
        GROUP,
        "Attention, add and norm, a feed-forward part 4 times as wide, add and norm: 512 wide, 8 heads, (4, 100, 512).",
        Scenario(
            source="normal",
            embed_dim=512,
            num_heads=8,
            query_len=100,
            batch_size=4,
            mask="full",
            stack=ENCODER,
            num_layers=1,
        ),
        output=(4, 100, 512),
    ),
    Example(
        "Tutorial: encoder layer with dropout",
        GROUP,
        "A layer with 8 heads, dim_feedforward 2048 and dropout 0.1 (off, as in eval mode), on (10, 32, 512).",
        Scenario(
            source="uniform",
            embed_dim=512,
            num_heads=8,
            query_len=10,
            batch_size=32,
            batch_first=False,
            mask="full",
            stack=ENCODER,
            num_layers=1,
            dim_feedforward=2048,
            dropout=0.1,
        ),
        output=(10, 32, 512),
    ),
)
