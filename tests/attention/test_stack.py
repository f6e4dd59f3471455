"""Stacks: weights and outputs equal to torch's own modules and to every layer written out in NumPy."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention import stack
from mha_viz.attention.layer import query_projection, seeded
from mha_viz.inputs.assemble import Inputs, build
from mha_viz.scenario import Scenario
from tests.attention import stack_oracle

KINDS = ("encoder", "decoder", "encoder-decoder")
MASKS: dict[str, dict[str, Any]] = {
    "none": {"mask": "full"},
    "causal": {"mask": "causal"},
    "per head": {"mask": "causal | (h > 0)", "memory_mask": "window(5) | (h > 1)", "src_mask": "window(5)"},
    "per item": {"mask": "window(4) | (b == 1)", "memory_mask": "(b == 0) | (k < 5)"},
    "biased": {"mask": "causal", "score_bias": "alibi", "mask_encoding": "float"},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "post-norm relu": {},
    "pre-norm gelu": {"norm_first": True, "activation": "gelu"},
    "narrow, no bias": {"dim_feedforward": 5, "bias": False},
    "sequence first": {"batch_first": False},
}
GRID = [
    pytest.param({"stack": kind, **MASKS[masks], **OPTIONS[options]}, id=f"{kind}-{masks}-{options}")
    for kind, masks, options in itertools.product(KINDS, MASKS, OPTIONS)
    if masks == "causal" or options == "post-norm relu"
]


def scenario(**values: Any) -> Scenario:
    usual = {"source": "normal", "embed_dim": 16, "num_heads": 4, "num_layers": 2, "query_len": 6, "batch_size": 2}
    if values.get("stack") != "encoder":
        usual["key_len"] = 7
    return Scenario(**{**usual, "mask": "full", **values})


def padded(s: Scenario) -> Scenario:
    memory = "5, 6" if s.stack == "encoder" else "6, 7"
    return replace(s, padding=memory, tgt_padding="4, 6")


def plain(s: Scenario) -> nn.Module:
    """Return the stack as a user of torch would write it."""
    options = {
        "dim_feedforward": 64 if s.dim_feedforward is None else s.dim_feedforward,
        "dropout": s.dropout,
        "activation": s.activation,
        "batch_first": s.batch_first,
        "norm_first": s.norm_first,
        "bias": s.bias,
    }
    if s.stack == "encoder":
        return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, **options), 2, enable_nested_tensor=False)
    if s.stack == "decoder":
        return nn.TransformerDecoder(nn.TransformerDecoderLayer(16, 4, **options), 2)
    return nn.Transformer(16, 4, 2, 2, **options)


@pytest.mark.parametrize("values", GRID)
@pytest.mark.parametrize("padding", [False, True], ids=["", "padded"])
def test_every_layer_is_what_it_is_written_out(values: dict[str, Any], padding: bool) -> None:
    s = padded(scenario(**values)) if padding else scenario(**values)
    found = mv.run(s)
    written, output = stack_oracle.forward(s, stack.module(s), build(s), (4, 6) if padding else None)
    assert [layer.name for layer in found.layers] == written.names
    for layer, weights in zip(found.layers, written.weights, strict=True):
        np.testing.assert_allclose(layer.weights.numpy(), weights, atol=1e-6, rtol=0)
    own = stack.forward(s, stack.module(s), stack.arguments(s, build(s)))
    np.testing.assert_allclose(own.numpy(), output, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm_first", [False, True])
def test_in_float64_nothing_but_rounding_is_left(kind: str, norm_first: bool) -> None:
    s = padded(scenario(stack=kind, norm_first=norm_first, mask="causal", dtype="float64", num_layers=6))
    found = mv.run(s)
    written, output = stack_oracle.forward(s, stack.module(s), build(s), (4, 6))
    for layer, weights in zip(found.layers, written.weights, strict=True):
        np.testing.assert_allclose(layer.weights.numpy(), weights, atol=1e-12, rtol=0)
    own = stack.forward(s, stack.module(s), stack.arguments(s, build(s)))
    np.testing.assert_allclose(own.numpy(), output, atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")  # what nn.Transformer makes itself
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_the_stack_starts_as_torch_starts_it(kind: str, options: dict[str, Any]) -> None:
    s = scenario(stack=kind, seed=7, **options)
    with seeded(7):
        fresh = plain(s)
    for part in stack.attentions(fresh):  # type: ignore[arg-type]
        query_projection(part).data.mul_(3.0)
    own = stack.module(s).state_dict()
    assert own.keys() == fresh.state_dict().keys()
    assert all(torch.equal(own[name], value) for name, value in fresh.state_dict().items())


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_that_of_the_plain_module_without_weights(kind: str) -> None:
    s = padded(scenario(stack=kind, mask="causal"))
    model = plain(s).eval()
    model.load_state_dict(stack.module(s).state_dict())
    expected = model(**stack.arguments(s, build(s)))
    torch.testing.assert_close(mv.run(s).layers[-1].weights.sum(-1), torch.ones(2, 4, 6))
    found = stack.forward(s, stack.module(s), stack.arguments(s, build(s)))
    torch.testing.assert_close(found, expected.detach(), atol=1e-6, rtol=0)


class TutorialLayer(nn.Module):
    """The encoder layer of the tutorials, written out."""

    def __init__(self, d_model: int, nhead: int, dim_feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(d_model, nhead, dropout=dropout, batch_first=True)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.linear1, self.linear2 = nn.Linear(d_model, dim_feedforward), nn.Linear(dim_feedforward, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        attended, weights = self.self_attn(x, x, x, average_attn_weights=False)
        x = self.norm1(x + self.dropout(attended))
        fed = self.linear2(self.dropout(torch.relu(self.linear1(x))))
        return self.norm2(x + self.dropout(fed)), weights


@pytest.mark.parametrize("name", ["Tutorial: encoder layer, batch first", "Tutorial: encoder layer with dropout"])
def test_a_written_out_layer_gives_the_numbers_of_torchs_with_the_same_weights(name: str) -> None:
    s = gallery.named(name).scenario
    assert (s.embed_dim, s.num_heads, s.num_layers) == (512, 8, 1)
    layer = stack.module(s).layers[0]
    assert layer.linear1.out_features == 2048
    assert not layer.norm_first
    written = TutorialLayer(512, 8, 2048, s.dropout).eval()
    written.load_state_dict(layer.state_dict())
    output, weights = written(build(s).query)
    torch.testing.assert_close(mv.run(s).layers[0].weights, weights.detach(), atol=1e-6, rtol=0)
    own = stack.forward(s, stack.module(s), stack.arguments(s, build(s)))
    torch.testing.assert_close(own, output.detach(), atol=3e-6, rtol=0)


@pytest.mark.parametrize("example", gallery.STACKS, ids=lambda e: e.name)
def test_the_gallerys_stacks_run_without_nan(example: gallery.Example) -> None:
    found = mv.run(example.scenario)
    assert not any(layer.weights.isnan().any() for layer in found.layers)
    halves = 3 if example.scenario.stack == "encoder-decoder" else 2 if example.scenario.stack == "decoder" else 1
    assert len(found.layers) == halves * example.scenario.num_layers


def test_a_run_of_a_stack_says_all_that_a_run_says() -> None:
    text = {"source": "text", "text": "die Katze", "key_text": "the black cat", "query_len": None, "key_len": None}
    s = scenario(stack="encoder-decoder", batch_size=None, mask="causal", **text)
    found = mv.run(s)
    assert (found.scenario, found.device, found.dtype, found.inputs) == (s, "cpu", "float32", build(s))
    assert found.seconds > 0
    words, source = ("die", "Katze"), ("the", "black", "cat")
    tokens = {layer.name: (found.query_tokens(0, i), found.key_tokens(0, i)) for i, layer in enumerate(found.layers)}
    assert tokens["encoder.layers.1.self_attn"] == (source, source)
    assert tokens["decoder.layers.1.self_attn"] == (words, words)
    assert tokens["decoder.layers.1.multihead_attn"] == (words, source)
    for layer in found.layers:
        assert layer.returned is None
        assert layer.call is not None
        q, k = layer.call.query, layer.call.key
        output, weights = layer.call.module(
            q, k, layer.call.value, attn_mask=layer.attn_mask, average_attn_weights=False
        )
        torch.testing.assert_close(layer.weights, weights.detach(), atol=1e-6, rtol=0)
        torch.testing.assert_close(layer.output, output.detach(), atol=1e-6, rtol=0)
    names = [name for name, _ in found.norms]
    assert names[0] == "encoder.layers.0 input"
    assert len(names) == 2 * (1 + s.num_layers)
    torch.testing.assert_close(found.norms[0][1], build(s).key.norm(dim=-1))


def test_copies_of_one_layer_are_said_to_be_that() -> None:
    assert mv.run(scenario(stack="encoder")).notes == (
        "nn.TransformerEncoder makes its 2 layers as copies of one, so untrained they hold the same parameters.",
    )
    assert mv.run(scenario(stack="encoder", num_layers=1)).notes == ()
    assert mv.run(scenario(stack="encoder-decoder")).notes == ()


def test_masks_are_recorded_as_what_hid_the_keys() -> None:
    found = mv.run(padded(scenario(stack="decoder", mask="causal", memory_mask="window(5)")))
    own, cross = found.layers[:2]
    for layer in (own, cross):
        allowed = layer.allowed.expand_as(layer.weights)
        assert torch.equal(layer.weights > 0, allowed)
    assert not own.allowed[0, 0, 5, 4]
    assert not cross.allowed[0, 0, 0, 6]


def test_dropout_draws_the_same_cells_for_the_same_seed_and_shows_those_that_were_used() -> None:
    s = scenario(stack="encoder", training=True, dropout=0.4)
    first, again = mv.run(s), mv.run(s)
    for one, other in zip(first.layers, again.layers, strict=True):
        assert torch.equal(one.weights, other.weights)
        assert one.dropout == 0.4
        assert 0.2 < (one.weights == 0).float().mean() < 0.6
        values = one.call.module.in_proj_weight.chunk(3)[2], one.call.module.in_proj_bias.chunk(3)[2]
        v = torch.nn.functional.linear(one.call.value, *values).unflatten(-1, (4, 4)).transpose(1, 2)
        made = one.call.module.out_proj((one.weights @ v).transpose(1, 2).flatten(2))
        torch.testing.assert_close(made.detach(), one.output, atol=1e-6, rtol=0)


def test_the_memory_is_the_target_itself_where_no_key_is_given() -> None:
    s = Scenario(stack="decoder", num_layers=1, text="one two three")
    found = mv.run(s)
    assert found.layers[1].weights.shape == (1, 4, 3, 3)
    torch.testing.assert_close(found.layers[1].call.key, build(s).query)


def test_targets_may_be_padded_as_their_texts_are() -> None:
    s = Scenario(stack="decoder", num_layers=1, text="one two three\nfour", key_text="a\nb", tgt_padding="auto")
    own = mv.run(s).layers[0]
    assert own.weights[1, :, :, 1:].eq(0).all()
    assert own.weights[0, :, 2].gt(0).all()
    assert mv.run(replace(s, text="one two\nfour five")).layers[0].key_padding_mask is None
    assert mv.run(replace(s, tgt_padding="none")).layers[0].key_padding_mask is None


def test_tensors_of_ones_own_go_through_a_stack() -> None:
    target, memory = torch.randn(1, 3, 16), torch.randn(1, 5, 16)
    found = mv.run(scenario(stack="decoder", num_layers=1), Inputs.of(target, memory))
    assert torch.equal(found.layers[0].call.query, target)
    assert torch.equal(found.layers[1].call.key, memory)


@pytest.mark.parametrize(
    ("kind", "tensors", "said"),
    [
        ("decoder", (3, 5, 5), "A stack's memory is both key and value, so it takes no value of its own: leave it"),
        ("encoder", (3, 5), "An encoder attends to its query alone, so it takes no key of its own: leave it empty."),
    ],
)
def test_tensors_that_a_stack_has_no_place_for_are_refused(kind: str, tensors: tuple[int, ...], said: str) -> None:
    inputs = Inputs.of(*(torch.randn(1, length, 16) for length in tensors))
    with pytest.raises(mv.InputError, match=said):
        mv.run(scenario(stack=kind), inputs)


def test_lengths_that_do_not_fit_the_targets_are_refused() -> None:
    expected = (
        r"^tgt_padding must give 2 lengths \(one for each batch item\) from 0 to 6, not '7, 3'\.$",
        r"^tgt_padding must give 2 lengths \(one for each batch item\) from 0 to 6, not '3'\.$",
    )
    for given, message in zip(("7, 3", "3"), expected, strict=True):
        with pytest.raises(mv.ScenarioError, match=message) as caught:
            mv.run(scenario(stack="decoder", tgt_padding=given))
        assert caught.value.field == "tgt_padding"


def test_what_torch_refuses_is_said_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no such kernel\nand more")

    monkeypatch.setattr(stack, "forward", refuse)
    with pytest.raises(mv.InputError, match=r"^nn\.TransformerEncoder refused the call: no such kernel$"):
        mv.run(scenario(stack="encoder"))
