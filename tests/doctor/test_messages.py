"""What every rule says of its bad example, word for word."""

from __future__ import annotations

import pytest

from mha_viz.doctor import RULES, examine

SAID = {
    "mask-shape": (
        "attn_mask must be (L, S) = (3, 5) or (N * H, L, S) = (4, 3, 5).",
        "its shape is (2, 3, 5): one mask a batch item has to be repeated for its 2 heads",
    ),
    "padding-shape": (
        "key_padding_mask must be (N, S) = (2, 5).",
        "its shape is (2, 1, 1, 5)",
    ),
    "square-padding": (
        "key_padding_mask is square, so its shape can't tell batch items from keys.",
        "N = S = 3; its rows are read as batch items",
    ),
    "heads-unknown": (
        "attn_mask has three dimensions, and the number of heads is not known: its rows were not checked.",
        "its first dimension 4 is N * H, with index n * H + h",
    ),
    "padding-with-sdpa": (
        "F.scaled_dot_product_attention takes no key_padding_mask: it has to be merged into attn_mask.",
        "a key_padding_mask of shape (2, 3) was given",
    ),
    "integer-mask": (
        "attn_mask must be bool or a floating type; torch refuses uint8.",
        "its dtype is torch.uint8, with values from 0 to 1",
    ),
    "float-dtype": (
        "attn_mask must be bool or of the query's type torch.float32; it is torch.float64.",
        "attn_mask has dtype torch.float64 and the query torch.float32",
    ),
    "half-overflow": (
        "attn_mask holds -1e+09, which becomes -inf in the query's float16.",
        "the lowest number in attn_mask is -1e+09, the lowest of float16 is -65504",
    ),
    "mixed-dtypes": (
        "attn_mask and key_padding_mask have different types, which torch warns about as deprecated.",
        "attn_mask is torch.float32, key_padding_mask is torch.bool",
    ),
    "additive-ones": (
        "attn_mask is a float mask of 0 and 1, which hides nothing: floats are added to the scores.",
        "6 of 16 cells are 1.0, the first at (0, 1); each multiplies the unnormalised weight of its key by e "
        "= 2.718, so that key gets more attention, not none",
    ),
    "additive-padding": (
        "key_padding_mask is a float mask of 0 and 1, which hides nothing: floats are added to the scores.",
        "1 of 6 cells are 1.0, the first at (1, 2); each multiplies the unnormalised weight of its key by e ="
        " 2.718, so that key gets more attention, not none",
    ),
    "nan-in-mask": (
        "attn_mask holds NaN, which makes every row it is added to NaN.",
        "10 of 16 cells are NaN, in 4 rows, and every other cell is -inf, as 0 * -inf gives",
    ),
    "plus-infinity": (
        "attn_mask holds +inf, where -inf hides a key.",
        "6 of 16 cells are +inf; their rows become NaN",
    ),
    "finite-penalty": (
        "attn_mask hides with the finite number -10, which a score can outweigh; -inf can't be outweighed.",
        "with equal scores, hidden keys get up to 0.000136 of a row (query 0)",
    ),
    "uniform-rows": (
        "Some queries have every key hidden by a finite number, so they attend to hidden keys, all alike.",
        "query 0 (1 row in all): hidden by -3.4e+38 in attn_mask; query 0 gives 0.25 to each of the keys 0 to 3",
    ),
    "inverted-mask": (
        "The mask is inverted: in nn.MultiheadAttention True means 'do not look', the opposite of "
        "F.scaled_dot_product_attention.",
        "every cell is the opposite of 'causal'; first seen: (query, key) = (0, 1), (0, 2), (0, 3), (1, 2), "
        "...; query 3 has no key left, which gives NaN weights",
    ),
    "diagonal-masked": (
        "No query sees itself: the diagonal is hidden, probably by triu() where triu(1) was meant.",
        "all cells (query i, key i) for i from 0 to 3 are hidden; query 0 has no key left, which gives NaN weights",
    ),
    "inverted-padding": (
        "The padding mask is inverted: True means padding, so here the real tokens are hidden.",
        "batch item 0 has all its keys hidden, and no item has all its keys visible",
    ),
    "padding-transposed": (
        "key_padding_mask must be (N, S) = (2, 4): one row for each batch item.",
        "it is (4, 2), the transpose of that",
    ),
    "all-padding": (
        "A batch item has all its keys hidden, so none of its queries has anything to attend to.",
        "batch item 1 is all padding; with need_weights=True, and on the fast path of eval and no_grad, such "
        "a row has NaN weights and output; with need_weights=False and gradients its output is out_proj.bias",
    ),
    "left-padding-causal": (
        "Padding at the start and a mask that looks back only leave the first queries without any key.",
        "only padding to look at for queries 0 to 1 of batch item 1 (2 rows in all); with need_weights=True, and "
        "on the fast path of eval and no_grad, such a row has NaN weights and output; with need_weights=False and "
        "gradients its output is out_proj.bias",
    ),
    "fully-masked-rows": (
        "Some queries have every key hidden.",
        "no key to look at for query 1 (1 row in all); with need_weights=True, and on the fast path of eval "
        "and no_grad, such a row has NaN weights and output; with need_weights=False and gradients its output is "
        "out_proj.bias",
    ),
    "padded-queries": (
        "The padding mask hides padded keys; the rows of padded queries keep their weights.",
        "in self-attention these rows mean nothing: query 2 of batch item 1",
    ),
    "repeat-order": (
        "attn_mask repeats the batch items in the order of repeat(H, 1, 1); repeat_interleave(H, 0) was meant.",
        "attn_mask[i] equals attn_mask[i % 2] for all i, but index i is batch item i // 4: batch item 0, head"
        " 1 is given the mask of batch item 1",
    ),
    "averaged-heads": (
        "The heads have different masks, and averaged weights show none of them as it is.",
        "in batch item 0, head 1 differs from head 0, first in query 0",
    ),
    "averaged-weights": (
        "The call returns the average over its 2 heads, and the weights of no single head.",
        "average_attn_weights is True, as it is by default: the weights are (N, L, S), not (N, H, L, S)",
    ),
    "causal-hint-alone": (
        "is_causal=True masks nothing by itself: nn.MultiheadAttention needs the causal attn_mask as well.",
        "is_causal is True and attn_mask is None: an error in training, no mask at all in eval under no_grad",
    ),
    "causal-hint-against-mask": (
        "is_causal=True, but attn_mask is not the causal mask: which of the two counts depends on the call.",
        "6 cells differ from the causal mask: (query, key) = (0, 1), (0, 2), (0, 3), (1, 2), ...",
    ),
    "causal-and-mask": (
        "F.scaled_dot_product_attention is documented to refuse attn_mask together with is_causal=True.",
        "attn_mask of shape (4, 4) and is_causal=True were both given",
    ),
    "causal-alignment": (
        "The causal mask is aligned top left: the last query does not see the last keys.",
        "L = 2, S = 5: query 0 sees key 0 only, query 1 sees keys 0 to 1",
    ),
    "differs-from-intent": (
        "attn_mask does not allow what 'causal' allows.",
        "3 cells differ: 3 visible that should be hidden, 0 hidden that should be visible; (query, key) = (0,"
        " 1), (1, 2), (2, 3)",
    ),
    "batch-first": (
        "With batch_first=False the layer reads the query as (L, N, E), so it attends across the batch.",
        "query has shape (2, 5, 16), which it takes for 5 batch items of 2 queries; N = 2 and L = 5 was meant",
    ),
    "dropout-weights": (
        "The layer is in training mode, so its weights come after dropout and their rows do not sum to 1.",
        "dropout = 0.5: kept weights are multiplied by 2",
    ),
    "bias-in-encoder": (
        "attn_mask adds numbers to the scores, but nn.TransformerEncoderLayer in eval mode without gradients hides "
        "every key whose number is not 0.",
        "its finite numbers go from -0.5 to 0",
    ),
    "extra-columns": (
        "The layer appends keys that no mask hides, and a column of weights for each.",
        "add_zero_attn: the weights have S + 1 = 4 columns, the masks have 3",
    ),
}


def test_every_rule_is_quoted() -> None:
    assert set(SAID) == set(RULES)


@pytest.mark.parametrize("name", list(RULES))
def test_the_message_and_the_evidence(name: str) -> None:
    finding = examine(RULES[name].bad()).of(name)[0]
    assert (finding.message, finding.evidence) == SAID[name]
    assert finding.docs == RULES[name].docs == f"docs/rules/{name}.md"
