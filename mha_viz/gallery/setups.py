"""Setups for the Explore page, of our own and from tutorials."""

from __future__ import annotations

from mha_viz.gallery.example import Example
from mha_viz.scenario import Scenario

BASICS, MASKS, LAYER, TUTORIALS = "First looks", "Masks", "Inside the layer", "From tutorials"

SETUPS = (
    Example(
        "A sentence, causal",
        BASICS,
        "Each token attends to itself and to what came before; the future is hatched out.",
        Scenario(),
    ),
    Example(
        "A sentence, no mask",
        BASICS,
        "The same layer without a mask: every token may attend to every other.",
        Scenario(mask="full"),
    ),
    Example(
        "A batch of sentences with padding",
        BASICS,
        "Three lines of different length: key_padding_mask hides the filled-up ends, for every query alike.",
        Scenario(text="the cat sat on the mat\na dog barked\nbirds sing in the trees at dawn", mask="full"),
    ),
    Example(
        "Translation (cross-attention)",
        BASICS,
        "The query is one sentence, key and value are another: weights are no longer square.",
        Scenario(text="die Katze schläft auf der Matte", key_text="the cat is sleeping on the mat", mask="full"),
    ),
    Example(
        "Chinese and Arabic",
        BASICS,
        "Tokens of any script: characters of Chinese one by one, Arabic in words.",
        Scenario(text="猫坐在垫子上。\nالقط جالس على الحصيرة", mask="causal"),
    ),
    Example(
        "Repeated motif",
        BASICS,
        "Tokens repeat as A B C D A B C D: identical tokens give identical rows and columns.",
        Scenario(source="repeated", query_len=24, mask="full", qk_scale=6.0),
    ),
    Example(
        "Clusters",
        BASICS,
        "Runs of similar tokens: the weights fall into blocks.",
        Scenario(source="clusters", query_len=32, mask="full", qk_scale=5.0),
    ),
    Example(
        "Sliding window",
        MASKS,
        "Causal, and at most 4 tokens back: memory and time grow with L instead of L².",
        Scenario(source="normal", query_len=24, mask="causal & window(4)"),
    ),
    Example(
        "Packed documents",
        MASKS,
        "Three documents in one sequence, none sees another.",
        Scenario(source="clusters", query_len=24, mask="document(10, 8, 6) & causal"),
    ),
    Example(
        "Prefix, then causal",
        MASKS,
        "The first 6 tokens are visible to all, the rest is causal, as in prefix language models.",
        Scenario(source="normal", query_len=20, mask="causal | prefix(6)"),
    ),
    Example(
        "A head of its own",
        MASKS,
        "Only head 0 is causal; the average over heads hides that.",
        Scenario(source="normal", query_len=16, mask="causal | (h > 0)"),
    ),
    Example(
        "Queries in a cache (L < S)",
        MASKS,
        "The last 4 queries of 16 tokens: causal_bottom_right lines them up with the end, as decoding needs.",
        Scenario(source="normal", query_len=4, key_len=16, mask="causal_bottom_right"),
    ),
    Example(
        "ALiBi",
        MASKS,
        "A bias that falls with distance, at a different slope in each head.",
        Scenario(source="normal", query_len=32, num_heads=8, score_bias="alibi", qk_scale=2.0),
    ),
    Example(
        "Dropout in train mode",
        LAYER,
        "A quarter of the weights are set to 0 and the others divided by 0.75: rows no longer sum to 1.",
        Scenario(source="normal", query_len=16, dropout=0.25, training=True, mask="full"),
    ),
    Example(
        "Extra columns",
        LAYER,
        "add_bias_kv and add_zero_attn append keys that no mask hides.",
        Scenario(source="normal", query_len=12, add_bias_kv=True, add_zero_attn=True),
    ),
    Example(
        "As torch initialises it",
        LAYER,
        "With query scale 1 an untrained layer is nearly uniform; that is what most first plots show.",
        Scenario(mask="full", qk_scale=1.0),
    ),
    Example(
        "Tutorial: uniform random input",
        TUTORIALS,
        "embed_dim 8, 2 heads, batch_first: query (1, 4, 8), averaged weights (1, 4, 4).",
        Scenario(source="uniform", embed_dim=8, num_heads=2, query_len=4, batch_size=1, mask="full"),
        output=(1, 4, 8),
    ),
    Example(
        "Tutorial: padding mask",
        TUTORIALS,
        "Query (10, 32, 256) with batch_first=False; keys 5 to 9 of every item are padding, their weights exactly 0.",
        Scenario(
            source="uniform",
            embed_dim=256,
            num_heads=8,
            query_len=10,
            batch_size=32,
            batch_first=False,
            mask="full",
            padding=", ".join(["5"] * 32),
        ),
        output=(10, 32, 256),
    ),
    Example(
        "Tutorial: attention of an encoder layer",
        TUTORIALS,
        "The self-attention inside a layer of width 512 with 8 heads and dropout 0.1, on (10, 32, 512).",
        Scenario(
            source="uniform",
            embed_dim=512,
            num_heads=8,
            query_len=10,
            batch_size=32,
            batch_first=False,
            dropout=0.1,
            mask="full",
        ),
        output=(10, 32, 512),
    ),
    Example(
        "Tutorial: 100 tokens, batch first",
        TUTORIALS,
        "The self-attention of an encoder layer of width 512 with 8 heads, on (4, 100, 512).",
        Scenario(source="normal", embed_dim=512, num_heads=8, query_len=100, batch_size=4, mask="full"),
        output=(4, 100, 512),
    ),
)
