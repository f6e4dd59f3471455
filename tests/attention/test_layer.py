"""The real forward: equal to a direct call of the module, and to attention written out in NumPy."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention.device import available
from mha_viz.attention.forward import run_given
from mha_viz.attention.layer import arguments, module, seeded
from mha_viz.inputs.assemble import build
from mha_viz.masks import encode
from mha_viz.scenario import Scenario
from tests.attention import oracle

SHAPES: dict[str, dict[str, Any]] = {
    "self": {"query_len": 6, "batch_size": 2},
    "cross": {"query_len": 5, "key_len": 7, "batch_size": 2},
    "kdim vdim": {"query_len": 5, "key_len": 7, "batch_size": 2, "kdim": 12, "vdim": 20},
    "unbatched": {"query_len": 6, "batch_size": 1, "unbatched": True},
    "unbatched cross": {"query_len": 4, "key_len": 6, "unbatched": True},
    "sequence first": {"query_len": 6, "batch_size": 3, "batch_first": False},
    "sequence first cross": {"query_len": 4, "key_len": 6, "batch_size": 2, "batch_first": False},
}
MASKS: dict[str, dict[str, Any]] = {
    "none": {"mask": "full"},
    "causal": {"mask": "causal"},
    "hinted": {"mask": "causal", "is_causal": True},
    "per head": {"mask": "causal | (h > 0)"},
    "per item": {"mask": "window(2) | (b == 1)"},
    "biased": {"mask": "causal", "score_bias": "alibi"},
}
EXTRAS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bias_kv": {"add_bias_kv": True},
    "zero_attn": {"add_zero_attn": True},
    "both": {"add_bias_kv": True, "add_zero_attn": True, "bias": False},
}
GRID = [
    pytest.param({**SHAPES[a], **MASKS[b], **EXTRAS[c], "mask_encoding": d}, id=f"{a}-{b}-{c}-{d}")
    for a, b, c, d in itertools.product(SHAPES, MASKS, EXTRAS, ("bool", "float"))
    if not (b == "per item" and SHAPES[a].get("batch_size", 1) == 1)
]


def scenario(**values: Any) -> Scenario:
    return Scenario(**{"source": "normal", "embed_dim": 16, "num_heads": 4, "mask": "full", **values})


def padded(s: Scenario) -> Scenario:
    items = s.batch_size or 1
    keys = s.key_len or s.query_len or 0
    lengths = [max(1, keys - n - 1) for n in range(items)]
    return Scenario(**{**{f: getattr(s, f) for f in s.__dataclass_fields__}, "padding": lengths})


def assert_identical(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def direct(s: Scenario) -> tuple[torch.Tensor, torch.Tensor]:
    """Call the module by hand, with the tensors that the Scenario stands for."""
    call = arguments(s, build(s))
    layer = module(s)
    assert type(layer) is nn.MultiheadAttention
    output, weights = layer(**call, need_weights=True, average_attn_weights=False)
    if s.unbatched:
        output, weights = output[None], weights[None]
    elif not s.batch_first:
        output = output.transpose(0, 1)
    return output.detach(), weights.detach()


@pytest.mark.parametrize("values", GRID)
@pytest.mark.parametrize("padding", [False, True], ids=["", "padded"])
def test_weights_are_the_modules_own_and_agree_with_attention_written_out(
    values: dict[str, Any], padding: bool
) -> None:
    s = padded(scenario(**values)) if padding else scenario(**values)
    run = mv.run(s)
    layer = run.layers[0]
    output, weights = direct(s)
    assert_identical(layer.weights, weights)
    assert_identical(layer.output, output)
    assert_identical(layer.average, weights.mean(dim=1))
    expected = oracle.weights(s, module(s), build(s))
    assert layer.weights.shape == expected.shape
    np.testing.assert_allclose(layer.weights.numpy(), expected, atol=1e-5, rtol=0)
    allowed, real = layer.allowed.expand_as(layer.weights), ~layer.weights.isnan()
    assert torch.equal((layer.weights > 0)[real], allowed[real])


def test_the_contract_of_the_readme() -> None:
    s = mv.Scenario(embed_dim=64, num_heads=4, query_len=16, mask="causal & window(4)", seed=0)
    run = mv.run(s)
    assert run.layers[0].weights.shape == (1, 4, 16, 16)
    assert run.layers[0].average.shape == (1, 16, 16)
    assert run.layers[0].output.shape == (1, 16, 64)
    assert torch.broadcast_shapes(run.layers[0].allowed.shape, (1, 4, 16, 16)) == (1, 4, 16, 16)
    expected = mv.mask("causal & window(4)").allowed(query_len=16, key_len=16)
    assert torch.equal(run.layers[0].allowed.expand(1, 4, 16, 16)[0, 0], expected)
    assert mv.Scenario.from_query(s.to_query()) == s


def test_the_layer_starts_as_torch_starts_it() -> None:
    layer = module(scenario(seed=7, qk_scale=1.0))
    torch.manual_seed(7)
    fresh = nn.MultiheadAttention(16, 4, batch_first=True)
    assert all(torch.equal(a, b) for a, b in zip(layer.state_dict().values(), fresh.state_dict().values(), strict=True))


def test_query_scale_multiplies_the_scores() -> None:
    s = scenario(query_len=6)
    one, three = (mv.run(Scenario(**{**s.__dict__, "qk_scale": scale})).layers[0].weights.log() for scale in (1.0, 3.0))
    apart = (one[..., 1:] - one[..., :1]) * 3.0
    torch.testing.assert_close(three[..., 1:] - three[..., :1], apart, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_other_number_formats_run_and_stay_close_to_float32(dtype: str) -> None:
    exact = mv.run(scenario(query_len=6, mask="causal")).layers[0].weights
    layer = mv.run(scenario(query_len=6, mask="causal", dtype=dtype)).layers[0]
    assert layer.weights.dtype == getattr(torch, dtype)
    torch.testing.assert_close(layer.weights.float(), exact, atol={"float64": 1e-5}.get(dtype, 0.05), rtol=0)


def test_a_run_leaves_torchs_random_numbers_and_gradients_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with torch.no_grad():
        run = mv.run(scenario(query_len=4, dropout=0.5, training=True))
    assert torch.equal(torch.rand(4), expected)
    assert not run.layers[0].weights.requires_grad
    assert not run.layers[0].output.requires_grad


def test_runs_in_many_threads_give_what_one_gives_alone() -> None:
    scenarios = [scenario(query_len=8, seed=seed, dropout=0.5, training=True) for seed in range(8)]
    alone = [mv.run(s).layers[0].weights for s in scenarios]
    found: dict[int, torch.Tensor] = {}

    def work(index: int) -> None:
        for _ in range(5):
            found[index] = mv.run(scenarios[index]).layers[0].weights

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(scenarios))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], alone[i]) for i in range(len(scenarios)))


def test_dropout_in_train_mode_zeroes_and_rescales_the_eval_weights() -> None:
    settings = {"query_len": 12, "batch_size": 2, "dropout": 0.25}
    plain = mv.run(scenario(**settings)).layers[0].weights
    dropped = mv.run(scenario(**settings, training=True)).layers[0]
    kept = dropped.weights > 0
    torch.testing.assert_close(dropped.weights[kept], plain[kept] / 0.75)
    assert 0.15 < 1 - kept.float().mean() < 0.35
    assert dropped.dropout == 0.25
    assert torch.equal(dropped.weights, mv.run(scenario(**settings, training=True)).layers[0].weights)


def test_a_call_without_weights_still_shows_them_and_returns_its_own_output() -> None:
    asked = mv.run(scenario(query_len=6, need_weights=False)).layers[0]
    shown = mv.run(scenario(query_len=6)).layers[0]
    assert asked.returned is None
    assert torch.equal(asked.weights, shown.weights)
    torch.testing.assert_close(asked.output, shown.output)
    assert asked.output_change == float((asked.output - shown.output).abs().max())


def test_a_call_for_the_average_returns_it() -> None:
    asked = mv.run(scenario(query_len=6, average_attn_weights=True)).layers[0]
    assert torch.equal(asked.returned, asked.average)
    assert asked.weights.shape == (1, 4, 6, 6)


def test_a_fully_masked_row_is_nan_as_the_module_gives_it() -> None:
    layer = mv.run(scenario(query_len=5, mask="k < q")).layers[0]
    assert layer.weights[0, :, 0].isnan().all()
    assert not layer.weights[0, :, 1:].isnan().any()


def test_eval_without_gradients_around_it_does_not_drop_the_causal_mask() -> None:
    with torch.no_grad():
        layer = mv.run(scenario(query_len=5, mask="causal", is_causal=True)).layers[0]
    assert layer.weights[0, 0].triu(1).eq(0).all()


def test_extra_columns_are_named_and_never_masked() -> None:
    run = mv.run(scenario(query_len=4, mask="causal", add_bias_kv=True, add_zero_attn=True))
    assert run.layers[0].weights.shape == (1, 4, 4, 6)
    assert run.key_tokens()[-2:] == ("bias_k", "zero")
    assert run.layers[0].allowed[..., -2:].all()


def test_tensors_of_ones_own_are_run_as_they_are() -> None:
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    s = scenario(mask="full")
    run = mv.run(s, mv.Inputs.of(x, memory))
    _, weights = module(s)(x, memory, memory, average_attn_weights=False)
    assert torch.equal(run.layers[0].weights, weights)
    with pytest.raises(mv.InputError, match=r"^query must have vectors of size 16, not 8\.$"):
        mv.run(s, mv.Inputs.of(torch.randn(5, 8)))
    with pytest.raises(
        mv.InputError, match=r"^key and value must share N and S, .* not query \[1, 5, 16\], key \[1, 4"
    ):
        mv.run(s, mv.Inputs.of(torch.randn(5, 16), torch.randn(4, 16), torch.randn(3, 16)))


def test_nan_in_the_input_is_shown() -> None:
    x = torch.randn(1, 4, 16)
    x[0, 2, 0] = float("nan")
    weights = mv.run(scenario(), mv.Inputs.of(x)).layers[0].weights
    assert weights.isnan().all()


def test_a_device_that_is_not_there_is_refused() -> None:
    there = ", ".join(available())
    with pytest.raises(mv.DeviceError, match=rf"^device 'cuda:77' is not on this machine: choose one of {there}\.$"):
        mv.run(scenario(device="cuda:77"))


def test_what_the_module_refuses_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel\nand a long trace")

    monkeypatch.setattr(nn.MultiheadAttention, "forward", refuse)
    with pytest.raises(mv.InputError, match=r"^nn\.MultiheadAttention refused the call: no such kernel$"):
        mv.run(scenario())


def test_a_number_format_without_a_kernel_names_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("\"softmax\" not implemented for 'Half'")

    monkeypatch.setattr(nn.MultiheadAttention, "forward", refuse)
    with pytest.raises(
        mv.DeviceError, match=r"^dtype float16 is not supported by nn\.MultiheadAttention on cpu: choose"
    ):
        mv.run(scenario(dtype="float16"))


@given(st.integers(0, 2**32 - 1))
def test_seeding_puts_the_generator_back(seed: int) -> None:
    before = torch.random.get_rng_state()
    with seeded(seed):
        torch.rand(3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("example", [e for e in gallery.EXAMPLES if e.output], ids=lambda e: e.name)
def test_tutorial_examples_have_the_shapes_that_the_tutorials_state(example: gallery.Example) -> None:
    layer = mv.run(example.scenario).layers[0]
    s, output = example.scenario, layer.output
    stated = output if s.batch_first else output.transpose(0, 1)
    assert tuple(stated.shape) == example.output
    n, length = layer.output.shape[:2]
    assert layer.average.shape == (n, length, length)


def test_the_tutorials_padding_mask_zeroes_the_last_five_columns() -> None:
    weights = mv.run(gallery.named("Tutorial: padding mask").scenario).layers[0].weights
    assert weights.shape == (32, 8, 10, 10)
    assert weights[..., 5:].eq(0).all()
    assert weights[..., :5].gt(0).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [name for name in MASKS if name != "per item"])
def test_a_scenarios_own_masks_given_raw_make_its_own_run(shape: str, kind: str) -> None:
    s = scenario(**SHAPES[shape], **MASKS[kind])
    call = arguments(s, build(s))
    bare = scenario(**SHAPES[shape])
    found = run_given(bare, call["attn_mask"], call["key_padding_mask"], is_causal=s.is_causal).layers[0]
    assert torch.equal(found.weights, mv.run(s).layers[0].weights)
    assert torch.equal(found.output, mv.run(s).layers[0].output)


def test_a_wrong_mask_is_run_as_it_is() -> None:
    s = scenario(query_len=5, mask="causal")
    inverted = torch.ones(5, 5, dtype=torch.bool).tril()
    layer = run_given(s, inverted).layers[0]
    x = build(s).query
    _, expected = module(s)(x, x, x, attn_mask=inverted, average_attn_weights=False)
    torch.testing.assert_close(layer.weights, expected, rtol=0, atol=0, equal_nan=True)
    assert layer.weights[0, :, 4].isnan().all()
    assert layer.attn_mask is inverted


@pytest.mark.parametrize("mask", ["full", "causal", "causal & window(2)", "causal | (h > 0)"])
@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "unbatched cross"])
def test_the_functions_weights_are_the_modules_under_the_same_mask_turned_round(mask: str, shape: str) -> None:
    s = scenario(**SHAPES[shape], mask=mask)
    expected = mv.run(s).layers[0]
    n, h, length, keys = expected.weights.shape
    allowed = mv.mask(mask).allowed(length, keys, batch_size=n, num_heads=h)
    found = run_given(s, allowed, api="sdpa").layers[0]
    torch.testing.assert_close(found.weights, expected.weights)
    torch.testing.assert_close(found.output, expected.output)
    assert torch.equal(found.allowed.expand(n, h, length, keys), allowed.expand(n, h, length, keys))


def test_the_functions_row_without_a_key_is_zero_and_not_nan() -> None:
    allowed = torch.ones(4, 4, dtype=torch.bool).triu(1)
    layer = run_given(scenario(query_len=4), allowed, api="sdpa").layers[0]
    assert layer.weights[0, :, 3].eq(0).all()
    assert not layer.allowed[..., 3, :].any()


def test_the_functions_causal_argument_counts_from_the_top_left_and_joins_the_mask() -> None:
    s = scenario(query_len=3, key_len=5)
    layer = run_given(s, is_causal=True, api="sdpa").layers[0]
    expected = mv.mask("causal").allowed(3, 5)
    assert torch.equal(layer.weights[0, 0] > 0, expected)
    assert torch.equal(layer.allowed[0, 0], expected)


@pytest.mark.parametrize(
    ("mask", "api", "said"),
    [
        (
            torch.ones(5, 5, dtype=torch.uint8),
            "mha",
            "nn.MultiheadAttention refused the call: only bool and floating types of attn_mask are supported",
        ),
        (
            torch.ones(3, 5, dtype=torch.bool),
            "mha",
            "nn.MultiheadAttention refused the call: The shape of the 2D attn_mask is torch.Size([3, 5]), "
            "but should be (5, 5).",
        ),
        (
            torch.ones(3, 5, dtype=torch.bool),
            "sdpa",
            "F.scaled_dot_product_attention refused the call: The size of tensor a (5) must match the size of "
            "tensor b (3) at non-singleton dimension 2",
        ),
    ],
)
def test_masks_that_torch_refuses_are_said_in_its_own_words(mask: torch.Tensor, api: encode.Api, said: str) -> None:
    with pytest.raises(mv.InputError) as refused:
        run_given(scenario(query_len=5), mask, api=api)
    assert str(refused.value) == said


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask and attn_mask:UserWarning")
def test_masks_of_two_kinds_give_what_torch_makes_of_them_without_its_warning() -> None:
    s = scenario(query_len=4, batch_size=2)
    floats, bools = torch.zeros(4, 4).masked_fill(torch.ones(4, 4).triu(1) > 0, -torch.inf), torch.zeros(2, 4).bool()
    bools[1, 3] = True
    found = run_given(s, floats, bools).layers[0]
    assert found.key_padding_mask.dtype == torch.float32
    x = build(s).query
    _, expected = module(s)(x, x, x, attn_mask=floats, key_padding_mask=bools, average_attn_weights=False)
    assert torch.equal(found.weights, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("values", GRID[::7])
def test_cuda_gives_the_cpus_weights(values: dict[str, Any]) -> None:
    cpu, cuda = (mv.run(scenario(**values, device=device)).layers[0] for device in ("cpu", "cuda"))
    torch.testing.assert_close(cuda.weights.cpu(), cpu.weights, atol=1e-5, rtol=1e-4)


def test_unbatched_inputs_of_several_items_are_refused() -> None:
    with pytest.raises(mv.InputError) as refused:
        mv.run(mv.Scenario(unbatched=True, embed_dim=8, num_heads=2), mv.Inputs.of(torch.randn(3, 4, 8)))
    assert str(refused.value) == "unbatched inputs are of one item, but these are of 3."
