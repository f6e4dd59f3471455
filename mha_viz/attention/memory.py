"""How much memory a forward may need, decided before anything is allocated."""

from __future__ import annotations

from bisect import bisect_right

from mha_viz import environment, masks
from mha_viz.errors import CapacityError
from mha_viz.inputs.assemble import Sizes
from mha_viz.scenario import ATTENTION, DECODER, ENCODER, ENCODER_DECODER, Scenario

LIMIT_VARIABLE = "MHA_VIZ_MEMORY_LIMIT_MB"
DEFAULT_LIMIT_MB = 2_048
ITEM_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


def limit_bytes() -> int:
    """Return the most that one forward may need, in bytes, from the environment or the default of 2 GiB.

    Raises:
        MhaVizError: The environment holds no number for it.
    """
    return int(environment.number(LIMIT_VARIABLE, DEFAULT_LIMIT_MB, low=0, high=2**30) * 2**20)


def estimate(s: Scenario, size: Sizes) -> int:
    """Return about how many bytes a forward holds at its peak, masks and inputs included.

    The explicit path keeps the scores and the weights, both [N, H, L, S]; a mask for each item or head, and dropout,
    keep more of that size. A stack keeps the weights of all its attention calls at once.
    """
    if s.stack != ATTENTION:
        return _of_stack(s, size)
    n, length, keys = size.batch_size, size.query_len, size.key_len + s.add_bias_kv + s.add_zero_attn
    full = n * s.num_heads * length * keys
    names = variables(s)
    varying = bool({"b", "h"} & names)
    masked = s.mask != "full" or bool(s.score_bias)
    copies = 2 + (masked and (varying or s.padding != "none")) + 1.25 * bool(s.training and s.dropout)
    made = length * keys * (n if "b" in names else 1) * (s.num_heads if "h" in names else 1)
    indexed = made * 10 * masked  # int64 indices and bools while the mask is made
    tokens = n * (5 * length * s.embed_dim + 2 * keys * (s.embed_dim + (s.kdim or s.embed_dim)))
    layer = 5 * s.embed_dim**2
    return int((full * copies + tokens + layer) * ITEM_BYTES[s.dtype] + indexed)


def streamed_estimate(s: Scenario, size: Sizes) -> int:
    """Return about how many bytes a layer holds whose weights are computed where they are looked at.

    Inputs, projections, and what streamed attention makes of them in float32 (float64 for a float64 layer).
    """
    item, exact = ITEM_BYTES[s.dtype], max(4, ITEM_BYTES[s.dtype])
    given = size.query_len * s.embed_dim + size.key_len * ((s.kdim or s.embed_dim) + (s.vdim or s.embed_dim))
    made = (size.query_len + 2 * (size.key_len + 2)) * s.embed_dim
    passes = s.num_heads * size.query_len * 64  # row statistics and normalisers
    return int(size.batch_size * (given * (4 + item) + made * (item + exact)) + passes + 5 * s.embed_dim**2 * item)


def attention_calls(s: Scenario, size: Sizes) -> list[tuple[int, int, frozenset[str]]]:
    """Return (queries, keys, the mask's variables) of the attention calls in one layer of a stack, or of each half."""
    own = (size.query_len, size.query_len, variables(s))
    if s.stack == ENCODER:
        return [own]
    to_memory = (size.query_len, size.key_len, masks.mask(s.memory_mask).variables)
    in_source = (size.key_len, size.key_len, masks.mask(s.src_mask).variables)
    return [own, to_memory] if s.stack == DECODER else [in_source, own, to_memory]


def _of_stack(s: Scenario, size: Sizes) -> int:
    """Estimate as `estimate`: of each layer its weights twice, in the records and for the gradients, which stay on."""
    calls = attention_calls(s, size)
    n, dim, hidden = size.batch_size, s.embed_dim, s.dim_feedforward or 4 * s.embed_dim
    dropping = bool(s.training and s.dropout)
    weights = [n * s.num_heads * length * keys for length, keys, _ in calls]
    copies = [(n if "b" in names else 1) * (s.num_heads if "h" in names else 1) for *_, names in calls]
    masked = [length * keys * count for (length, keys, _), count in zip(calls, copies, strict=True)]
    halves = 1 + (s.stack == ENCODER_DECODER)
    rows = n * (size.query_len + (halves - 1) * size.key_len)
    tokens = n * sum((7 * length + 3 * keys) * dim for length, keys, _ in calls)
    wide = rows * ((1 + 2 * dropping) * hidden + (4 + 6 * dropping) * dim)
    parameters = (2 * len(calls) * 4 * dim + halves * 2 * hidden) * dim  # each attention is copied for the records
    each = (2 + 2 * dropping) * sum(weights) + tokens + wide + parameters
    at_once = 1.5 * max(weights) + sum(masked)
    return int(1.05 * (s.num_layers * each + at_once) * ITEM_BYTES[s.dtype] + 10 * max(masked))


def variables(s: Scenario) -> frozenset[str]:
    """Return the index variables that the mask or the score bias depends on; `b` or `h` make the mask 3-D."""
    of_bias = masks.score_bias(s.score_bias).variables if s.score_bias else frozenset[str]()
    return masks.mask(s.mask).variables | of_bias


def check(s: Scenario, size: Sizes) -> None:
    """Refuse a forward that would not fit, before anything is allocated.

    Raises:
        CapacityError: It would need more than `limit_bytes()`; the sentence says how much, and what to change.
    """
    needed, limit = estimate(s, size), limit_bytes()
    if needed <= limit:
        return
    if s.stack != ATTENTION:
        count = s.num_layers * len(attention_calls(s, size))
        raise CapacityError(
            f"The {s.stack} and the weights of its {count} attention calls in {s.dtype} would need about "
            f"{spelled(needed)}, more than the limit of {spelled(limit)}: reduce query_len, num_layers, embed_dim or "
            f"batch_size, or raise {LIMIT_VARIABLE}.",
            field="query_len",
        )
    beyond = f"would need about {spelled(needed)}, more than the limit of {spelled(limit)}"
    if estimate(s, Sizes(1, 1, 1)) > limit:
        raise CapacityError(
            f"A layer of embed_dim {s.embed_dim:,} in {s.dtype} {beyond} even for one token: reduce embed_dim, or "
            f"raise {LIMIT_VARIABLE}.",
            field="embed_dim",
        )
    length = _length_that_fits(s, size, limit)
    shorter = f"query_len to about {_rounded(length):,}" if length else "key_len"
    raise CapacityError(
        f"The layer and its weights [{size.batch_size}, {s.num_heads}, {size.query_len:,}, {size.key_len:,}] in "
        f"{s.dtype} {beyond}: reduce {shorter}, use fewer heads or batch items, or raise {LIMIT_VARIABLE}.",
        field="query_len" if length else "key_len",
    )


def _length_that_fits(s: Scenario, size: Sizes, limit: int) -> int:
    """Return the largest query_len for which a forward fits, 0 if none does; in self-attention keys go with it."""
    own = size.key_len == size.query_len

    def needed(length: int) -> int:
        return estimate(s, Sizes(size.batch_size, length, length if own else size.key_len))

    return bisect_right(range(1, size.query_len), limit, key=needed)


def spelled(count: float) -> str:
    """Return a number of bytes as a reader wants it, such as `1.2 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1_000:
            return f"{count:.3g} {unit}"
        count /= 1_000
    return f"{count:,.0f} TB" if count >= 1_000 else f"{count:.3g} TB"


def _rounded(length: float) -> int:
    magnitude: int = 10 ** max(0, len(str(int(length))) - 2)
    return max(1, int(int(length) // magnitude * magnitude))
