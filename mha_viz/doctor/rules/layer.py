"""What the layer itself does to the weights: its layout, dropout, extra columns."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mha_viz.doctor import wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.registry import Fix, Symptom, rule


def _laid_out(case: Case) -> Fix:
    value = not case.batch_first
    code = f"batch_first = {value}  # nn.MultiheadAttention(embed_dim, num_heads, batch_first={value})"
    return Fix(code, lambda c: c.but(batch_first=value))


@rule(
    "batch-first",
    "error",
    "The layer attends across the batch",
    why="nn.MultiheadAttention is batch_first=False unless you say otherwise: it reads (L, N, E). Given (N, L, E) it "
    "takes the batch for the sequence, so samples attend to each other. Without masks there is no error, and the "
    "weights have the shape (L, N, N).",
    pitfall="P8",
    issues=(63560, 122959),
    good=lambda: Case(key_padding_mask=torch.zeros(2, 5).bool(), query_len=5, query_shape=(2, 5, 16), batch_first=True),
    bad=lambda: Case(key_padding_mask=torch.zeros(2, 5).bool(), query_len=5, query_shape=(2, 5, 16), batch_first=False),
    remedy=_laid_out,
)
def batch_first(case: Case) -> Iterator[Symptom]:
    """Find a query whose shape fits the other layout only."""
    shape, n, length = case.query_shape, case.sizes.batch, case.sizes.queries
    if shape is None or case.batch_first is None or len(shape) != 3 or case.api == "sdpa":
        return
    queries, items = (shape[1], shape[0]) if case.batch_first else (shape[0], shape[1])
    own = (length in (None, queries)) and (n in (None, items))
    other = (length in (None, items)) and (n in (None, queries))
    layout = "(N, L, E)" if case.batch_first else "(L, N, E)"
    if other and not own:
        known = " and ".join(f"{name} = {size}" for name, size in (("N", n), ("L", length)) if size is not None)
        yield Symptom(
            f"With batch_first={case.batch_first} the layer reads the query as {layout}, so it attends across the "
            "batch.",
            f"query has shape {shape}, which it takes for {items} batch items of {queries} queries; {known} was meant",
        )
    elif shape[0] == shape[1] > 1:
        yield Symptom(
            f"The query's shape fits both layouts; with batch_first={case.batch_first} it is read as {layout}.",
            f"query has shape {shape}: N = L = {shape[0]}",
            severity="note",
        )


@rule(
    "dropout-weights",
    "note",
    "The weights are shown after dropout",
    why="In training mode dropout acts on the weights after the softmax: some become 0, the others are divided by "
    "1 - p, and the rows no longer sum to 1. In eval mode there is no dropout.",
    pitfall="P15",
    issues=(42929, 33360, 90842, 27968),
    good=lambda: Case(attn_mask=torch.zeros(3, 3).bool(), dropout=0.5, training=False),
    bad=lambda: Case(attn_mask=torch.zeros(3, 3).bool(), dropout=0.5, training=True),
    remedy=lambda case: Fix("training = False  # module.eval()", lambda c: c.but(training=False)),
)
def dropout_weights(case: Case) -> Iterator[Symptom]:
    """Find dropout that is at work."""
    if case.training and case.dropout > 0:
        seen = ""
        if case.weights is not None:
            sums = case.weights.sum(dim=-1)
            whole = sums[~sums.isnan()]
            if whole.numel():
                seen = f"; in the weights given the rows sum to {float(whole.min()):.3g} to {float(whole.max()):.3g}"
        yield Symptom(
            "The layer is in training mode, so its weights come after dropout and their rows do not sum to 1.",
            f"dropout = {case.dropout:.3g}: kept weights are multiplied by {1 / max(1 - case.dropout, 1e-9):.3g}{seen}",
        )


@rule(
    "extra-columns",
    "note",
    "The weights have more columns than there are keys",
    why="add_bias_kv appends a learnt key and add_zero_attn a key of zeros; the weights get a column for each. No mask "
    "hides them, so a query whose other keys are all hidden gives them its whole weight, and there is no NaN. The "
    "masks keep the width S.",
    pitfall="P16",
    issues=(27461,),
    good=lambda: Case(attn_mask=torch.zeros(3, 3).bool()),
    bad=lambda: Case(attn_mask=torch.zeros(3, 3).bool(), add_zero_attn=True),
    advice="weights = weights[..., : key.shape[1]]  # with batch_first=True; rows then sum to less than 1",
)
def extra_columns(case: Case) -> Iterator[Symptom]:
    """Find appended keys."""
    appended = [name for name in ("add_bias_kv", "add_zero_attn") if getattr(case, name)]
    if appended:
        keys = case.sizes.keys
        width = f"S + {len(appended)}" + ("" if keys is None else f" = {keys + len(appended)}")
        empty = case.empty_rows
        sunk = ""
        if empty is not None and empty.any():
            rows = int(empty.count_nonzero())
            sunk = f"; {wording.counted(rows, 'row')} {'gives' if rows == 1 else 'give'} them all the weight"
        yield Symptom(
            "The layer appends keys that no mask hides, and a column of weights for each.",
            f"{' and '.join(appended)}: the weights have {width} columns, the masks have "
            f"{'S' if keys is None else keys}{sunk}",
        )


@rule(
    "bias-in-encoder",
    "note",
    "An encoder layer's fast path reads a score bias as a bool mask",
    why="nn.TransformerEncoderLayer in eval mode without gradients takes a fast path that turns a float mask into a "
    "bool one: every number but 0 hides its key, so a bias such as ALiBi masks nearly everything, without a warning. "
    "With gradients, in training mode and in nn.MultiheadAttention itself the numbers are added to the scores.",
    pitfall="P17",
    good=lambda: Case(attn_mask=torch.zeros(3, 3).masked_fill(torch.ones(3, 3).triu(1).bool(), -torch.inf)),
    bad=lambda: Case(attn_mask=-(torch.arange(3)[:, None] - torch.arange(3)).abs() / 4),
    advice="torch.backends.mha.set_fastpath_enabled(False)  # or pass a bool mask where nothing is to be added",
    explained_by=("additive-ones", "finite-penalty", "nan-in-mask", "plus-infinity", "uniform-rows"),
)
def bias_in_encoder(case: Case) -> Iterator[Symptom]:
    """Find numbers that are added to scores, which one path of torch takes for True."""
    found = case.attn_values
    if case.api == "mha" and found is not None and (found.low or found.high) and found.penalty is None:
        yield Symptom(
            "attn_mask adds numbers to the scores, but nn.TransformerEncoderLayer in eval mode without gradients hides "
            "every key whose number is not 0.",
            f"its finite numbers go from {found.low:.3g} to {found.high:.3g}",
        )
