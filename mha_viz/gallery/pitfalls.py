"""Masks that are wrong, for the Masks page: each pitfall, and the broken examples of tutorials."""

from __future__ import annotations

from typing import Any

from mha_viz import masks
from mha_viz.doctor import MISTAKES
from mha_viz.gallery.example import Example
from mha_viz.given import CORRECT, Given
from mha_viz.scenario import Scenario

GROUP, BROKEN = "Pitfalls: what goes wrong, and the fix", "Broken examples of tutorials"


def _wrong(name: str, mistake: str, shows: str, group: str = GROUP, **settings: Any) -> Example:
    """Return an example of a mistake, with the intent that shows it best unless another is given."""
    of = MISTAKES[mistake]
    items: int = 2 if "b" in masks.mask(of.intent).variables else 1
    chosen = {"source": "normal", "query_len": 6, "batch_size": items, "mask": of.intent, "padding": "none", **settings}
    given = Given(mistake=mistake)
    return Example(name, group, shows, Scenario(**chosen), given=given, rule=of.rule, item=items - 1)


def _right(name: str, rule: str, shows: str, group: str = GROUP, **settings: Any) -> Example:
    """Return an example of a pitfall that no mask is to blame for: the mask is written as it should be."""
    return Example(name, group, shows, Scenario(**settings), given=Given(mistake=CORRECT), rule=rule)


PITFALLS = (
    _wrong(
        "P1 Inverted",
        "inverted",
        "True means ignore here: each word sees only its future, the last nothing: NaN.",
        source="text",
        query_len=None,
    ),
    _wrong("P1 Inverted, for SDPA", "inverted-sdpa", "The same bug the other way round: here True means attend."),
    _wrong("P1 Inverted padding", "padding-inverted", "A tokenizer's 1 = real, passed where True = padding."),
    _wrong("P2 Ones as floats", "float-ones", "A float mask is added: +1 makes the future likelier, it hides nothing."),
    _wrong("P2 Padding as floats", "float-padding", "1.0 for padding draws attention to it instead of hiding it."),
    _wrong("P2 Zero times infinity", "nan-builder", "0 * -inf is NaN, in every cell that was to be kept."),
    _wrong("P3 A mask of bytes", "byte-mask", "torch takes bool and floats only, and refuses the call."),
    _wrong("P3 float64 from NumPy", "float64-mask", "A float mask must have the type of the query."),
    _wrong("P4 Off by one", "off-by-one", "triu() includes the diagonal: the first row has nothing to look at."),
    _wrong("P4 Left padding, causal", "left-padding", "The padded queries at the start see only padding: NaN rows."),
    _wrong("P4 A sample of padding alone", "all-padding", "Every row of that batch item is NaN."),
    _wrong(
        "P5 The lowest number", "lowest-number", "With finfo.min a row without a key turns uniform, padding included."
    ),
    _wrong("P6 Types mixed", "mixed-types", "A float attn_mask beside a bool key_padding_mask: deprecated."),
    _wrong("P7 repeat", "repeat", "The masks of the batch items land on each other's heads."),
    _wrong("P8 batch_first forgotten", "batch-first", "The layer reads the batch as the sequence."),
    _wrong(
        "P9 is_causal alone", "hint-alone", "In eval mode without gradients the hint is dropped: nothing is masked."
    ),
    _wrong("P9 is_causal against a mask", "hint-against-mask", "One path heeds the hint, another the mask."),
    _wrong("P10 attn_mask and is_causal", "mask-and-hint", "F.scaled_dot_product_attention joins the two, or refuses."),
    _wrong(
        "P11 The wrong corner",
        "top-left",
        "Queries that continue a cache should end at the last key; is_causal starts them at the first.",
        query_len=4,
        key_len=12,
    ),
    _right(
        "P12 Padded queries",
        "padded-queries",
        "The padding mask hides keys; padded queries still have weights.",
        text="the cat sat on the mat\na dog barked\nbirds sing in the trees at dawn",
        mask="full",
    ),
    _right("P13 Inside an encoder layer", "", "Open the execution paths: which one TransformerEncoderLayer takes."),
    _right(
        "P14 The average hides a head",
        "averaged-heads",
        "Head 0 is causal, the others are free; the default average hides it.",
        source="normal",
        query_len=10,
        mask="causal | (h > 0)",
        average_attn_weights=True,
    ),
    _right(
        "P15 Dropout",
        "dropout-weights",
        "In train mode the weights come after dropout; rows do not sum to 1.",
        source="normal",
        query_len=10,
        dropout=0.5,
        training=True,
    ),
    _right(
        "P16 Extra columns",
        "extra-columns",
        "add_bias_kv and add_zero_attn append keys that no mask hides.",
        source="normal",
        query_len=8,
        add_bias_kv=True,
        add_zero_attn=True,
    ),
    _right(
        "P17 One row, three answers",
        "fully-masked-rows",
        "Query 3 sees nothing: open the execution paths.",
        source="normal",
        query_len=8,
        mask="causal & (q != 3)",
    ),
    _wrong(
        "P18 Padding transposed", "padding-transposed", "(S, N) where (N, S) is expected: the call fails, or N = S."
    ),
    _wrong(
        "Tutorial 000: batch_first",
        "batch-first",
        "MultiheadAttention(512, 8) on (4, 100, 512) attends across the batch.",
        BROKEN,
        mask="full",
        embed_dim=512,
        num_heads=8,
        query_len=100,
        batch_size=4,
    ),
    _wrong(
        "Tutorial 003: batch_first",
        "batch-first",
        "MultiheadAttention(256, 4) on (2, 50, 256) reads 50 items of 2 tokens.",
        BROKEN,
        mask="full",
        embed_dim=256,
        num_heads=4,
        query_len=50,
        batch_size=2,
    ),
    _wrong(
        "Tutorial 000: masked self-attention",
        "batch-first",
        "(1, 20, 128) with a causal mask of (20, 20): refused.",
        BROKEN,
        mask="causal",
        embed_dim=128,
        num_heads=4,
        query_len=20,
        batch_size=1,
    ),
    _right(
        "Tutorial 000: the first head",
        "averaged-weights",
        "attn[0, :3, :3] fails: the call averaged the heads away.",
        BROKEN,
        source="normal",
        query_len=5,
        num_heads=2,
        mask="full",
        average_attn_weights=True,
    ),
    _wrong(
        "Tutorial 002: attention mask",
        "float-ones",
        "torch.triu(torch.ones(10, 10), 1) as floats masks nothing.",
        BROKEN,
        embed_dim=256,
        num_heads=8,
        query_len=10,
    ),
    _wrong("Tutorial 004: byte mask", "byte-mask", "R's torch takes a byte mask; Python's refuses it.", BROKEN),
)


def of_mistake(mistake: str) -> Example:
    """Return the first example of one of the doctor's mistakes, made where the gallery has none."""
    own = (example for example in PITFALLS if example.given is not None and example.given.mistake == mistake)
    return next(own, None) or _wrong(MISTAKES[mistake].title, mistake, "")
