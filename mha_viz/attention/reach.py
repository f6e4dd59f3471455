"""Which inputs each output really depends on, found by perturbing them: a leak test that trusts no mask.

reach(model, x)                                  # [L_out, L_in]: 0 where output i does not depend on input j
reach(nn_multihead_attention, x, x, x, attn_mask=m)
reach(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), q, k, v, perturb=("k", "v"))
assert_reach(model, token_ids, allowed="causal", vocabulary=50_000)
reach(Scenario(mask="causal"))
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mha_viz.attention.experiment import Perturbed, Target, experiment
from mha_viz.attention.reach_check import absences, allowed_by, between_items, compare_reach, leaks, reading
from mha_viz.attention.trials import item_changes, position_changes
from mha_viz.errors import InputError
from mha_viz.masks import Mask
from mha_viz.scenario import ATTENTION, Scenario


def reach(
    target: Target,
    x: Tensor | None = None,
    *args: Any,
    perturb: Perturbed | None = None,
    batch_first: bool | None = None,
    vocabulary: int | Sequence[int] | None = None,
    draws: int = 2,
    seed: int = 0,
    copies: int | None = None,
    per_item: bool = False,
    **kwargs: Any,
) -> Tensor:
    """Return how much each output changes when each input token is replaced: 0 means that it does not depend on it.

    The call is `target(x, *args, **kwargs)`, with everything but the perturbed tensors as given. An argument that holds
    the same numbers in memory as a perturbed one is perturbed with it, so `reach(mha, x, x, x)` is self-attention.
    Train or eval mode and gradient mode are the caller's, because torch takes other paths in each; dropout drops the
    same cells in every forward. Perturbed copies share a batch where each then gives what it gives alone and no batch
    item sees another; else they run one after the other, at the size given. A module's buffers are put back
    afterwards. To pass an argument that is named as one of the options here, wrap the model in a lambda.

    Args:
        target: A module, any function of tensors, or a Scenario, which brings its own layer, inputs and masks.
        x: Vectors [N, L, E] or [L, E], or token ids [N, L] or [L].
        *args: Further arguments, such as key and value.
        perturb: Which arguments to perturb, by number (x is 0) or name; several are replaced at the same position
            together. Default: x; for a Scenario the key and value (in self-attention they are the query), and of a
            stack `src` in an encoder, else `tgt`.
        batch_first: Whether tensors are [N, L, ...] (True) or [L, N, ...]. Default: what the module says of itself
            (`batch_first` of the module, or of the attention in torch's Transformer classes), else True.
        vocabulary: For token ids, how many there are, or which ones may be used as replacements. Default: those in x.
        draws: How many different replacements each token gets; the largest change counts.
        seed: Of the replacements and of dropout.
        copies: Perturbed copies in one forward; 1 runs one after the other. Default: as many as keep N * L * L score
            cells of all copies below 2**20 and their tokens below 2**12.
        per_item: Return each batch item's own changes, not the largest over the batch.
        **kwargs: Named arguments, such as masks.

    Returns:
        [L_out, L_in] on the CPU, or [N, L_out, L_in] if `per_item`: the largest change of any number of output i when
        input j is replaced. inf where a NaN appears or disappears; NaN before and after is no change.

    Raises:
        InputError: An argument cannot be perturbed, the output has no place for batch and tokens, or two equal calls
            give different outputs.
    """
    asked = experiment(target, x, args, kwargs, perturb, batch_first, vocabulary, draws, seed)
    changes = position_changes(asked, copies)
    return changes if per_item else changes.amax(0)


def reach_across(
    target: Target,
    x: Tensor | None = None,
    *args: Any,
    perturb: Perturbed | None = None,
    batch_first: bool | None = None,
    vocabulary: int | Sequence[int] | None = None,
    draws: int = 2,
    seed: int = 0,
    **kwargs: Any,
) -> Tensor:
    """Return how much the output of each batch item changes when all of another item is replaced.

    Off the diagonal it is 0 unless items see each other, as they do in a module whose `batch_first` is not what the
    input was made for. The arguments are those of `reach`.

    Returns:
        [N, N] on the CPU: row n, column m is the largest change in item n when item m is replaced.
    """
    return item_changes(experiment(target, x, args, kwargs, perturb, batch_first, vocabulary, draws, seed))


def assert_reach(
    target: Target,
    x: Tensor | None = None,
    *args: Any,
    allowed: str | Mask | Tensor | None = None,
    exact: bool = False,
    own: bool | None = None,
    tolerance: float = 0.0,
    perturb: Perturbed | None = None,
    batch_first: bool | None = None,
    vocabulary: int | Sequence[int] | None = None,
    draws: int = 2,
    seed: int = 0,
    copies: int | None = None,
    **kwargs: Any,
) -> None:
    """Raise an AssertionError that names what leaks, if an output depends on an input that is not allowed.

    Batch items must not see each other either. The other arguments are those of `reach`.

    Args:
        target: A module, any function of tensors, or a Scenario.
        x: Vectors [N, L, E] or [L, E], or token ids [N, L] or [L].
        *args: Further arguments.
        allowed: As in `compare_reach`. Default: "causal"; for a Scenario of one layer its own mask and padding; for
            one of a stack it must be given.
        exact: Fail too where an allowed dependency is absent.
        own: As in `compare_reach`. Default: False; for a Scenario, whether the query is perturbed too.
        tolerance: Changes up to this size count as none.
        perturb: See `reach`.
        batch_first: See `reach`.
        vocabulary: See `reach`.
        draws: See `reach`.
        seed: See `reach`.
        copies: See `reach`.
        **kwargs: Named arguments.

    Raises:
        AssertionError: There is a leak (or an absence, if `exact`); up to 10 pairs are named, and all are counted.
        InputError: As for `reach`.
    """
    if isinstance(target, Scenario) and target.stack != ATTENTION and allowed is None:
        message = "allowed must say what the whole stack may see, because its mask speaks of one layer: give a mask."
        raise InputError(message)
    asked = experiment(target, x, args, kwargs, perturb, batch_first, vocabulary, draws, seed)
    found = position_changes(asked, copies)
    if isinstance(target, Scenario) and target.stack == ATTENTION:
        allowed = allowed_by(target) if allowed is None else allowed
        own = asked.perturbs("query") if own is None else own
    compared = compare_reach(found, "causal" if allowed is None else allowed, own=bool(own), tolerance=tolerance)
    lines = leaks(compared.leaks, found)
    if len(found) > 1:
        lines += between_items(item_changes(asked), tolerance)
    if exact:
        lines += absences(compared.absent)
    if lines:
        raise AssertionError("\n".join([*lines, *reading(asked)]))
