"""`nn.MultiheadAttention` by itself: weights against NumPy and against the module called outside of a capture."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mha_viz.attention.capture import capture
from mha_viz.attention.trace import trace
from tests.attention.capture.oracle import array, multihead
from tests.attention.capture.transparency import run_of

N, L, S, E, H = 2, 5, 6, 16, 4
CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)
FREE = torch.zeros(L, L, dtype=torch.bool)
LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias_kv and zero_attn": {"add_bias_kv": True, "add_zero_attn": True},
    "kdim and vdim": {"kdim": 12, "vdim": 20},
    "no bias": {"bias": False},
    "odd heads": {"num_heads": 1},
}
ASKED = list(itertools.product((True, False), (True, False)))


def layer(**options: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(E, **{"num_heads": H, **options})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def tensor(length: int, dim: int = E, seed: int = 1) -> Tensor:
    return torch.randn(N, length, dim, generator=torch.Generator().manual_seed(seed))


X = tensor(L)


@pytest.mark.parametrize("asked", ASKED, ids=lambda a: f"need_weights={a[0]} average={a[1]}")
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_cross_attention_with_padding(options: dict[str, Any], batch_first: bool, asked: tuple[bool, bool]) -> None:
    mha = layer(batch_first=batch_first, **options).eval()
    inputs = tensor(L), tensor(S, mha.kdim, 2), tensor(S, mha.vdim, 3)
    padding = torch.tensor([[False] * S, [False] * 4 + [True] * 2])
    placed = [x if batch_first else x.transpose(0, 1) for x in inputs]
    how = {"need_weights": asked[0], "average_attn_weights": asked[1], "key_padding_mask": padding}
    run = run_of(mha, lambda m: m(*placed, **how)[0], inside=True)
    record = run.layers[0]
    weights, output = multihead(mha, *map(array, inputs), padding=padding)
    np.testing.assert_allclose(record.weights, weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(record.output, output, rtol=0, atol=1e-5)
    assert record.extra_keys == ("bias_k", "zero")[: 2 * mha.add_zero_attn]
    assert torch.equal(record.key_padding_mask, padding)
    if not asked[0]:
        assert record.returned is None
    elif asked[1]:
        np.testing.assert_allclose(record.returned, weights.mean(1), rtol=0, atol=1e-6)
    else:
        assert record.returned is record.weights
        assert record.output_change == 0
    again = record.call.module(
        record.call.query, record.call.key, record.call.value, key_padding_mask=padding, average_attn_weights=False
    )[1]
    assert torch.allclose(again, record.weights, rtol=0, atol=1e-6)


def test_what_went_in_is_one_object_where_it_was() -> None:
    run = run_of(layer(batch_first=True), lambda m: m(X, X, X)[0], inside=True)
    call = run.layers[0].call
    assert call.query is call.key
    assert call.key is call.value
    assert torch.equal(call.query, X)
    assert not any(parameter.requires_grad for parameter in call.module.parameters())


def test_the_copy_of_a_layer_is_made_once_for_its_parameters() -> None:
    mha = layer()
    with capture(mha, inside=True) as captured:
        mha(X, X, X)
        mha(X, X, X)
        with torch.no_grad():
            mha.out_proj.weight.add_(1)
        mha(X, X, X)
    first, second, third = (record.call.module for record in captured.run().layers)
    assert first is second
    assert torch.equal(third.out_proj.weight, first.out_proj.weight + 1)


@pytest.mark.parametrize("padding", [None, torch.tensor([False, True, False, False, False])], ids=["whole", "padded"])
def test_unbatched(padding: Tensor | None) -> None:
    mha = layer()
    run = run_of(mha, lambda m: m(X[0], X[0], X[0], key_padding_mask=padding, need_weights=False)[0])
    weights, output = multihead(mha, *[array(X[:1])] * 3, padding=padding)
    np.testing.assert_allclose(run.layers[0].weights, weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.layers[0].output, output, rtol=0, atol=1e-5)
    assert run.layers[0].allowed.shape[-1] == L


# What torch does with is_causal, by path: (train, gradients, need_weights, mask), and whether it heeds the hint.
HINTS = {
    "fused, a free mask: the hint alone": ((True, True, False, FREE), CAUSAL),
    "explicit, a free mask: the mask alone": ((True, True, True, FREE), FREE),
    "fast path, a free mask: the mask alone": ((False, False, False, FREE), FREE),
    "fast path, no mask: neither": ((False, False, False, None), None),
    "fused, a causal mask": ((True, True, False, CAUSAL), CAUSAL),
}


@pytest.mark.parametrize(("case", "heeded"), HINTS.values(), ids=HINTS)
def test_is_causal_is_recorded_as_torch_heeded_it(case: tuple[bool, bool, bool, Tensor | None], heeded: Any) -> None:
    training, gradients, need_weights, mask = case
    mha = layer(batch_first=True).train(training)
    with torch.set_grad_enabled(gradients):
        run = run_of(mha, lambda m: m(X, X, X, attn_mask=mask, is_causal=True, need_weights=need_weights)[0])
    record = run.layers[0]
    weights, output = multihead(mha, *[array(X)] * 3, attn_mask=heeded)
    np.testing.assert_allclose(record.weights, weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(record.output, output, rtol=0, atol=1e-5)
    assert (record.attn_mask is None) == (heeded is None)
    assert heeded is None or torch.equal(record.attn_mask, heeded)
    assert record.passed.is_causal
    assert record.passed.attn_mask is None if mask is None else torch.equal(record.passed.attn_mask, mask)
    assert bool(run.notes) == (mask is FREE and heeded is CAUSAL)


def test_rows_without_keys_are_nan_and_said_to_be() -> None:
    mask = FREE.clone()
    mask[0] = True
    run = run_of(layer(batch_first=True), lambda m: m(X, X, X, attn_mask=mask, need_weights=False)[0])
    record = run.layers[0]
    assert record.weights[:, :, 0].isnan().all()
    assert not record.weights[:, :, 1:].isnan().any()
    assert not record.output.isnan().any()
    assert record.output_change == torch.inf
    assert "may see no key: their weights are NaN" in run.notes[0]


@pytest.mark.parametrize("need_weights", [True, False])
def test_dropout_in_train_mode(need_weights: bool) -> None:
    mha = layer(dropout=0.5, batch_first=True)
    run = run_of(mha, lambda m: m(X, X, X, need_weights=need_weights)[0])
    torch.manual_seed(0)
    expected = mha(X, X, X, average_attn_weights=False)[1]
    assert torch.equal(run.layers[0].weights, expected)
    assert run.layers[0].dropout == 0.5
    assert run.layers[0].output_change <= 1e-6


def test_a_class_with_a_forward_of_its_own_is_seen_through_the_function() -> None:
    class Doubled(nn.MultiheadAttention):
        def forward(self, x: Tensor, **options: Any) -> Tensor:
            return super().forward(2 * x, x, x, **options)[0]

    torch.manual_seed(0)
    doubled = Doubled(E, H, batch_first=True).eval()
    with torch.no_grad():
        run = run_of(doubled, lambda m: m(X, need_weights=False))
    expected = nn.MultiheadAttention.forward(doubled, 2 * X, X, X, average_attn_weights=False)[1]
    assert torch.allclose(run.layers[0].weights, expected, rtol=0, atol=1e-6)
    assert run.layers[0].name == "Doubled"


def test_the_function_under_the_module_called_directly() -> None:
    class Pool(nn.Module):
        """As in CLIP: the query is the mean, the projections are separate."""

        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v, self.c = (nn.Linear(E, E) for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            x = x.transpose(0, 1)
            bias = torch.cat([self.q.bias, self.k.bias, self.v.bias])
            separate = {f"{name}_proj_weight": getattr(self, name).weight for name in "qkv"}
            query, out = x.mean(0, keepdim=True), (self.c.weight, self.c.bias)
            return F.multi_head_attention_forward(
                *(query, x, x, E, H, None, bias, None, None, False, 0.0, *out),
                **separate,
                use_separate_proj_weight=True,
                need_weights=False,
            )[0]

    torch.manual_seed(0)
    pool = Pool()
    run = run_of(nn.Sequential(pool), lambda m: m(X), inside=True)
    record = run.layers[0]
    q, k = pool.q(X.mean(1, keepdim=True)), pool.k(X)
    scores = torch.einsum("nlhd,nshd->nhls", q.view(N, 1, H, -1), k.view(N, L, H, -1)) / 2
    assert (record.name, tuple(record.weights.shape)) == ("0", (N, H, 1, L))
    assert torch.allclose(record.weights, scores.softmax(-1), rtol=0, atol=1e-6)
    again = record.call.module(record.call.query, record.call.key, record.call.value, average_attn_weights=False)
    assert torch.allclose(again[1], record.weights, rtol=0, atol=1e-6)
    assert torch.allclose(again[0], record.output, rtol=0, atol=1e-6)


WRONG = torch.zeros(3, 1, dtype=torch.bool)


def test_a_mask_that_torch_never_looked_at_costs_the_model_nothing() -> None:
    mha = layer(batch_first=True).train()
    run = run_of(mha, lambda m: m(X, X, X, attn_mask=WRONG, is_causal=True, need_weights=False)[0])
    weights, _ = multihead(mha, *[array(X)] * 3, attn_mask=CAUSAL)
    np.testing.assert_allclose(run.layers[0].weights, weights, rtol=0, atol=1e-6)
    assert "took is_causal at its word and ignored attn_mask" in run.notes[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_mask_of_another_number_format_is_read_as_the_fast_path_does(dtype: torch.dtype) -> None:
    block = nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, batch_first=True).eval()
    mask = torch.zeros(L, L, dtype=dtype).masked_fill(CAUSAL, -torch.inf)
    with torch.no_grad():
        run = run_of(block, lambda m: m(X, src_mask=mask))
    weights, _ = multihead(block.self_attn, *[array(X)] * 3, attn_mask=CAUSAL)
    np.testing.assert_allclose(run.layers[0].weights, weights, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_call_whose_weights_cannot_be_read_gives_its_result_and_a_note() -> None:
    mha = layer(batch_first=True)
    many = torch.stack([X, X + 1])
    with capture(mha) as captured:
        found = torch.vmap(lambda x: mha(x, x, x, need_weights=False)[0])(many)
        mha(X, X, X)
    torch.testing.assert_close(found, torch.vmap(lambda x: mha(x, x, x, need_weights=False)[0])(many))
    run = captured.run()
    assert len(run.layers) == 1
    assert run.notes[0].startswith("The weights of a call of MultiheadAttention could not be read: vmap")


CHANGES = {
    "in_proj_weight": lambda mha: mha.in_proj_weight.mul_(2),
    "in_proj_bias": lambda mha: mha.in_proj_bias.add_(1),
    "out_proj.bias": lambda mha: mha.out_proj.bias.add_(1),
    "train": lambda mha: mha.train(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_trace_of_each_call_has_the_parameters_that_the_layer_had_then(change: Any) -> None:
    mha = layer(batch_first=True).eval()
    with capture(mha, inside=True) as captured, torch.no_grad():
        mha(X, X, X)
        change(mha)
        mha(X, X, X)
    run = captured.run()
    for index, training in enumerate((False, mha.training)):
        found = trace(run, layer=index)
        assert max(found.weights_change, found.output_change) < 1e-5
        assert run.layers[index].call.module.training == training


def test_layers_that_share_a_parameter_keep_their_own_others() -> None:
    first, second = (layer(batch_first=True) for _ in range(2))
    with torch.no_grad():
        second.in_proj_weight.mul_(2)
    second.out_proj = first.out_proj
    model = nn.ModuleList([first, second])
    with capture(model, inside=True) as captured:
        for mha in model:
            mha(X, X, X)
    run = captured.run()
    assert max(trace(run, layer=index).weights_change for index in range(2)) < 1e-5
