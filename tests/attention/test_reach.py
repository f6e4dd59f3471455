"""Reach: what each output depends on, against gradients and known masks, and the pitfalls that it must find."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.reach import assert_reach, reach, reach_across
from mha_viz.attention.reach_check import compare_reach
from mha_viz.errors import InputError
from mha_viz.masks import encode, mask
from mha_viz.scenario import Scenario

L, E = 6, 16
FUTURE = torch.ones(L, L, dtype=torch.bool).triu(1)
CAUSAL = ~FUTURE


def attention(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    return nn.MultiheadAttention(E, 2, **{"batch_first": True, **settings}).eval()


def vectors(items: int = 1, length: int = L) -> Tensor:
    return torch.randn(items, length, E, generator=torch.Generator().manual_seed(1))


def encoder(layers: int = 2, **settings: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, 2, 32, **{"batch_first": True, **settings})
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False).eval()


class Stack(nn.Module):
    """Eight layers written by hand, each with a mask of its own."""

    def __init__(self, attn_masks: list[Tensor]) -> None:
        super().__init__()
        self.attn_masks = attn_masks
        self.attentions = nn.ModuleList([nn.MultiheadAttention(E, 2, batch_first=True) for _ in attn_masks])
        self.norms = nn.ModuleList([nn.LayerNorm(E) for _ in attn_masks])

    def forward(self, x: Tensor) -> Tensor:
        for attention, norm, attn_mask in zip(self.attentions, self.norms, self.attn_masks, strict=True):
            y = norm(x)
            x = x + attention(y, y, y, attn_mask=attn_mask, need_weights=False)[0]
        return x


class Language(nn.Module):
    """Token ids in, scores of the next token out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, E)
        self.encoder = encoder()
        self.head = nn.Linear(E, 11)

    def forward(self, ids: Tensor, attn_mask: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.head(self.encoder(self.embedding(ids), mask=attn_mask))}


def gradient_pattern(function: Any, x: Tensor) -> np.ndarray:
    """Which outputs have a gradient at which inputs, by loops over single outputs."""
    found = np.zeros((L, L), dtype=bool)
    for i in range(L):
        own = x.clone().requires_grad_()
        function(own)[0, i].square().sum().backward()
        found[i] = own.grad[0].abs().sum(-1).numpy() > 0
    return found


def test_reach_finds_the_pairs_that_have_gradients() -> None:
    layer = attention()
    for seed in range(8):
        hidden = torch.rand(L, L, generator=torch.Generator().manual_seed(seed)) < 0.5
        hidden.fill_diagonal_(False)

        def call(x: Tensor, hidden: Tensor = hidden) -> Tensor:
            return layer(x, x, x, attn_mask=hidden)[0]

        assert np.array_equal((reach(call, vectors()) > 0).numpy(), gradient_pattern(call, vectors()))


@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("gradients", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("hint", [False, True], ids=["mask", "mask and hint"])
def test_a_causal_encoder_has_exactly_zero_reach_above_the_diagonal(
    norm_first: bool, gradients: bool, hint: bool
) -> None:
    with torch.set_grad_enabled(gradients):
        found = reach(encoder(norm_first=norm_first), vectors(2), mask=FUTURE, is_causal=hint)
    assert found.shape == (L, L)
    assert found[FUTURE].eq(0).all()
    assert found[CAUSAL].gt(0).all()


def test_a_causal_stack_written_by_hand_has_exactly_zero_reach_above_the_diagonal() -> None:
    stack = Stack([FUTURE] * 8)
    assert_reach(stack, vectors(), exact=True)
    assert reach(stack, vectors())[FUTURE].eq(0).all()


def test_a_leak_of_one_cell_in_one_of_eight_layers_is_found() -> None:
    leaking = FUTURE.clone()
    leaking[2, 4] = False
    found = reach(Stack([FUTURE] * 4 + [leaking] + [FUTURE] * 3), vectors())
    # Output 2 sees input 4 and what input 4 has seen; later outputs see it anyway, up to the diagonal.
    expected = [[i >= j or (i >= 2 and j <= 4) for j in range(L)] for i in range(L)]
    assert (found > 0).tolist() == expected


def test_the_leaking_pairs_are_named() -> None:
    leaking = FUTURE.clone()
    leaking[2, 4] = False
    found = reach(attention(), *[vectors()] * 3, attn_mask=leaking)
    with pytest.raises(AssertionError) as caught:
        assert_reach(attention(), *[vectors()] * 3, attn_mask=leaking)
    expected = f"Output 2 must not depend on input 4, but changes by {found[2, 4]:.3g} with it."
    assert str(caught.value) == f"1 pair (output, input) leaks:\n{expected}"


def test_ten_leaks_are_named_and_all_are_counted() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_reach(attention(), *[vectors()] * 3)
    lines = str(caught.value).splitlines()
    assert lines[0] == "15 pairs (output, input) leak:"
    assert len(lines) == 12
    assert lines[-1] == "And 5 more."


def test_absent_dependencies_fail_only_when_asked_for() -> None:
    layer, x = attention(), vectors()
    assert_reach(layer, x, x, x, attn_mask=FUTURE, allowed="full")
    with pytest.raises(AssertionError) as caught:
        assert_reach(layer, x, x, x, attn_mask=FUTURE, allowed="causal | (k == 1)", exact=True)
    first = "1 pair (output, input) that is allowed is absent:"
    assert str(caught.value) == f"{first}\nOutput 0 may depend on input 1, but does not."


# The pitfalls


def inverted() -> Tensor:
    return torch.ones(L, L, dtype=torch.bool).tril()


def test_p1_a_mask_of_the_other_convention_is_found() -> None:
    x = vectors()
    compared = compare_reach(reach(attention(), x, x, x, attn_mask=inverted()), "causal")
    assert torch.equal(compared.leaks, FUTURE)
    # The last row is hidden from everything and NaN whatever the input is: it depends on nothing.
    assert compared.absent[-1].all()
    found = reach(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=FUTURE), vectors())
    assert torch.equal(compare_reach(found, "causal", own=True).leaks, FUTURE)


def test_p2_a_float_triangle_of_ones_hides_nothing() -> None:
    x = vectors()
    compared = compare_reach(reach(attention(), x, x, x, attn_mask=torch.ones(L, L).triu(1)), "causal")
    assert torch.equal(compared.leaks, FUTURE)


def test_p5_a_row_of_the_smallest_number_attends_to_what_it_must_not() -> None:
    x = vectors()
    strict = torch.zeros(L, L).masked_fill(torch.ones(L, L, dtype=torch.bool).triu(), torch.finfo(torch.float32).min)
    compared = compare_reach(reach(attention(), x, x, x, attn_mask=strict), "k < q", own=True)
    assert compared.leaks[0, 1:].all()
    assert not compared.leaks[1:].any()


def test_p7_masks_repeated_in_the_wrong_order_are_found_by_item() -> None:
    x, intended = vectors(2), mask("causal | (b == 1)")
    right = encode.attn_mask(intended, query_len=L, batch_size=2, num_heads=2)
    wrong = right[::2].repeat(2, 1, 1)
    layer = attention()
    assert_reach(layer, x, x, x, attn_mask=right, allowed=intended, exact=True)
    found = reach(layer, x, x, x, attn_mask=wrong, per_item=True)
    assert torch.equal(compare_reach(found, intended).leaks, torch.stack([FUTURE, FUTURE & False]))


def test_p8_a_module_that_attends_across_the_batch_is_found() -> None:
    layer, x = attention(batch_first=False), vectors(3)
    assert torch.equal(reach(layer, x, x, x, batch_first=True) > 0, torch.eye(L, dtype=torch.bool))
    across = reach_across(layer, x, x, x, batch_first=True)
    assert across.shape == (3, 3)
    assert across.gt(0).all()
    with pytest.raises(AssertionError, match=r"^6 pairs of batch items see each other: is batch_first right\?\n"):
        assert_reach(layer, x, x, x, batch_first=True)


def test_p8_a_bare_module_is_read_as_it_reads_its_input() -> None:
    layer, x = attention(batch_first=False), vectors(3)
    assert reach(layer, x, x, x).shape == (3, 3)
    with pytest.raises(AssertionError) as caught:
        assert_reach(layer, x, x, x)
    expected = "The input was read as [L, N, ...] with L = 3 and N = 6, because batch_first is False."
    assert str(caught.value).splitlines()[-1] == expected


@pytest.mark.parametrize("target", ["MultiheadAttention", "TransformerEncoder"])
def test_p9_the_causal_hint_without_a_mask_leaks_in_eval_without_gradients(target: str) -> None:
    x = vectors()
    module, more = (attention(), (x, x)) if target == "MultiheadAttention" else (encoder(1), ())
    with torch.no_grad():
        found = reach(module, x, *more, is_causal=True)
    assert found.gt(0).all()
    with pytest.raises(RuntimeError, match="Need attn_mask if specifying the is_causal hint"):
        reach(module, x, *more, is_causal=True)


# Kinds of input


@pytest.mark.parametrize("ids", [torch.arange(L) % 5, torch.arange(2 * L).reshape(2, L) % 5], ids=["[L]", "[N, L]"])
def test_token_ids_are_replaced_by_others(ids: Tensor) -> None:
    model = Language().eval()
    assert_reach(model, ids, FUTURE, exact=True)
    assert_reach(model, ids, attn_mask=FUTURE, vocabulary=11, exact=True)
    assert_reach(model, ids, FUTURE, vocabulary=(3, 7), exact=True)
    with pytest.raises(AssertionError, match=r"^(15|30) pairs \(output, input\) leak:\nOutput 0( of item 0)? must not"):
        assert_reach(model, ids)


def test_cross_attention_reaches_from_the_arguments_named() -> None:
    layer, query, memory = attention(), vectors(2, 4), vectors(2, 7)
    hidden = torch.ones(4, 7, dtype=torch.bool).triu(2)
    found = reach(layer, query, memory, memory, attn_mask=hidden, perturb="key")
    assert torch.equal(found > 0, encode.allowed_from(hidden, batch_size=1, num_heads=1)[0, 0])
    assert torch.equal(found, reach(layer, query, memory, memory, attn_mask=hidden, perturb=1))
    own = reach(layer, query, memory, memory, attn_mask=hidden)
    assert torch.equal(own > 0, torch.eye(4, dtype=torch.bool))


def test_key_and_value_of_their_own_are_perturbed_together() -> None:
    layer, query, key = attention(), vectors(1, 4), vectors(1, 7)
    both = reach(layer, query, key, key + 1, perturb=("key", "value"))
    assert both.shape == (4, 7)
    assert both.gt(0).all()


def test_one_object_stays_one_and_views_of_it_stay_apart() -> None:
    found, x = set(), vectors()

    def function(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        found.add((key is query, value is query, torch.equal(value, query)))
        return query

    reach(function, x, x, x[:])
    assert found == {(True, False, True)}


def test_padding_masks_follow_their_items() -> None:
    x, padding = vectors(3), encode.key_padding_mask([6, 2, 4], L)
    found = reach(encoder(1), x, src_key_padding_mask=padding, per_item=True)
    real = encode.allowed_from_padding(padding)[:, 0]
    compared = compare_reach(found, real.expand(3, L, L), own=True)
    assert not compared.leaks.any()
    assert not compared.absent.any()


@pytest.mark.parametrize("batch_first", [True, False])
def test_input_without_a_batch_and_with_the_tokens_first(batch_first: bool) -> None:
    layer, x = attention(batch_first=batch_first), vectors(2)
    placed = x if batch_first else x.transpose(0, 1).contiguous()
    batched = reach(layer, placed, placed, placed, attn_mask=FUTURE, per_item=True)
    padding = torch.zeros(L, dtype=torch.bool)
    alone = reach(layer, x[0], x[0], x[0], attn_mask=FUTURE, key_padding_mask=padding)
    assert torch.equal(batched[0] > 0, CAUSAL)
    assert torch.equal(alone > 0, CAUSAL)


def test_a_function_that_takes_no_larger_batch_is_run_at_its_own_size() -> None:
    table, sizes = torch.randn(2, L, E), []

    def fixed(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return (x + table).cumsum(1)

    assert torch.equal(reach(fixed, vectors(2)) > 0, CAUSAL)
    assert sizes[-1] == 2


def test_a_function_whose_batch_items_see_each_other_is_run_at_its_own_size() -> None:
    found = reach(lambda x: x + x.mean(0, keepdim=True), vectors(2))
    assert torch.equal(found > 0, torch.eye(L, dtype=torch.bool))


@pytest.mark.parametrize("copies", [1, 2, 5, 1000])
def test_any_number_of_copies_at_once_finds_the_same(copies: int) -> None:
    x = vectors(2)
    found = reach(encoder(), x, mask=FUTURE, copies=copies)
    torch.testing.assert_close(found, reach(encoder(), x, mask=FUTURE))
    assert found[FUTURE].eq(0).all()


def test_many_tokens_cost_a_few_forwards() -> None:
    calls = []
    module = encoder()
    module.register_forward_hook(lambda *_: calls.append(1))
    reach(module, vectors(1, 64), mask=torch.ones(64, 64, dtype=torch.bool).triu(1))
    assert len(calls) <= 10


# Modes


def test_dropout_in_train_mode_drops_the_same_cells_and_leaves_torchs_random_numbers_alone() -> None:
    module = encoder(dropout=0.5).train()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    found = reach(module, vectors(2), mask=FUTURE)
    assert torch.equal(torch.rand(2), expected)
    assert found[FUTURE].eq(0).all()
    assert found.diagonal().gt(0).all()
    assert module.training
    assert torch.equal(found, reach(module, vectors(2), mask=FUTURE))


def test_buffers_and_inputs_are_left_as_they_were() -> None:
    norm, x = nn.BatchNorm1d(E).train(), vectors(2)
    before, given = norm.running_mean.clone(), x.clone()
    reach(nn.Sequential(nn.Flatten(0, 1), norm, nn.Unflatten(0, (-1, L))), x)
    assert torch.equal(norm.running_mean, before)
    assert int(norm.num_batches_tracked) == 0
    assert torch.equal(x, given)


def test_an_input_that_asks_for_gradients_keeps_asking() -> None:
    asked = []

    def function(x: Tensor) -> Tensor:
        asked.append(x.requires_grad)
        return x.cumsum(1)

    found = reach(function, vectors().requires_grad_())
    assert all(asked)
    assert not found.requires_grad


# Numbers


def test_a_nan_that_comes_or_goes_is_an_infinite_change_and_one_that_stays_is_none() -> None:
    def function(x: Tensor) -> Tensor:
        return torch.where(x == vectors(), 0.0, torch.nan)

    found = reach(function, vectors())
    assert torch.equal(found, torch.full((L,), torch.inf).diag().nan_to_num(0, posinf=torch.inf))
    assert reach(lambda x: x * torch.nan, vectors()).eq(0).all()


def test_a_nan_in_the_input_is_replaced_by_a_number() -> None:
    x = vectors()
    x[0, 2, 0] = torch.nan
    found = reach(lambda x: x.cumsum(1), x)
    assert found[2:, 2].eq(torch.inf).all()


@pytest.mark.parametrize("x", [torch.zeros(1, L, E), torch.full((1, L, E), 7.0), vectors() * 1e-6])
def test_inputs_of_any_scale_are_perturbed(x: Tensor) -> None:
    assert torch.equal(reach(lambda x: x.cumsum(1), x) > 0, CAUSAL)


def test_half_precision_is_exact_too() -> None:
    found = reach(encoder().to(torch.bfloat16), vectors(2).to(torch.bfloat16), mask=FUTURE)
    assert found.dtype == torch.float32
    assert found[FUTURE].eq(0).all()
    assert found[CAUSAL].gt(0).all()


# Scenarios


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"mask": "causal & window(2)", "batch_size": 2},
        {"mask": "causal | (h > 0)"},
        {"mask": "causal | (b == 1)", "batch_size": 2, "batch_first": False},
        {"mask": "k < q"},
        {"padding": "3, 6", "batch_size": 2, "mask": "full"},
        {"query_len": 4, "key_len": 7, "mask": "window(1)"},
        {"unbatched": True, "is_causal": True, "need_weights": False},
        {"dropout": 0.0, "training": True, "score_bias": "alibi"},
        {"add_bias_kv": True, "add_zero_attn": True},
    ],
    ids=str,
)
def test_a_scenario_reaches_what_its_mask_allows(values: dict[str, Any]) -> None:
    s = Scenario(**{"source": "normal", "query_len": L, "embed_dim": E, "num_heads": 2, **values})
    found = reach(s)
    assert found.shape == (s.query_len, s.key_len or s.query_len)
    assert_reach(s, exact=True)


def test_a_scenario_can_be_held_to_another_intent() -> None:
    s = Scenario(source="normal", query_len=4, mask="full")
    with pytest.raises(AssertionError, match=r"^6 pairs \(output, input\) leak:"):
        assert_reach(s, allowed="causal")
    cross = Scenario(source="normal", query_len=4, key_len=5, mask="full")
    assert torch.equal(reach(cross, perturb="query") > 0, torch.eye(4, dtype=torch.bool))


# Refusals


def noise(x: Tensor) -> Tensor:
    return x + torch.tensor(np.random.default_rng().normal(size=x.shape), dtype=x.dtype)


REFUSED = [
    (lambda: reach(noise, vectors()),
     "The function must give the same output for the same input, but two equal calls "
     "differed: it keeps a state, or draws random numbers that torch's seed does not set."),
    (lambda: reach(lambda x: "words", vectors()),
     "The function must return a tensor, or a tuple or mapping that holds "
     "one, not 'words'."),
    (lambda: reach(lambda x: x.sum(), vectors(2)),
     "The output must have the batch and the tokens of the input, N = 2 "
     "first or second as batch_first says, but its shape is []."),
    (lambda: reach(lambda x: x, None), "x must be a tensor, not NoneType."),
    (lambda: reach(lambda x: x, vectors(), draws=0), "draws must be at least 1, not 0."),
    (lambda: reach(lambda x: x, torch.ones(L)),
     "A perturbed torch.float32 tensor must be [N, L, E] or [L, E] and not "
     "empty, not [6]."),
    (lambda: reach(lambda x: x, torch.ones(0, L, dtype=torch.int64)),
     "A perturbed torch.int64 tensor must be [N, L] or "
     "[L] and not empty, not [0, 6]."),
    (lambda: reach(lambda x: x, torch.ones(2, L, dtype=torch.bool)),
     "x must hold vectors (a floating type) or token ids "
     "(an integer type), not torch.bool."),
    (lambda: reach(lambda x: x, torch.ones(L, dtype=torch.int64)),
     "Token ids are replaced by others, so there must be "
     "at least two, but there are [1]: give vocabulary=<number of ids>, or which ids may be used."),
    (lambda: reach(lambda x, y: x, vectors(), 2, perturb="y"),
     "perturb must name tensors of the call, but 'y' is none "
     "of them: there are x."),
    (lambda: reach(lambda x, y: x, vectors(), vectors(1, 3), perturb=("x", "y")),
     "Arguments perturbed together must have "
     "the same batch and tokens, not [1, 6, 16] and [1, 3, 16]."),
    (lambda: reach(Scenario(), vectors()),
     "A Scenario brings its own inputs and masks, so reach takes no further "
     "arguments with it."),
    (lambda: compare_reach(torch.zeros(2, 2), torch.zeros(2, 2)),
     "allowed must be bool, True where an output may depend "
     "on an input, not torch.float32."),
    (lambda: compare_reach(torch.zeros(2, 3), torch.ones(3, 2, dtype=torch.bool)),
     "allowed must have the shape [2, 3] "
     "of the reach, not [3, 2]."),
    (lambda: compare_reach(torch.zeros(2, 2), "h == 0"),
     "allowed must not mention heads, which a reach does not tell "
     "apart, but it is 'h == 0'."),
    (lambda: compare_reach(torch.zeros(2, 2), "b == 0"),
     "allowed may mention batch items only for a reach made with "
     "per_item=True, but it is 'b == 0'."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_what_cannot_be_measured_is_refused_in_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
