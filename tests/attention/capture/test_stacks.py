"""Torch's own stacks: every weight equal to NumPy's from the parameters, every output what it is without a capture."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mha_viz.attention.capture import capture
from mha_viz.attention.capture.recorder import NESTED
from tests.attention.capture.oracle import Pass, array
from tests.attention.capture.transparency import run_of

N, L, S, E, H = 2, 5, 4, 16, 2
CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)
PADDING = torch.tensor([[False] * L, [False] * 3 + [True] * 2])
MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "padding": {"src_key_padding_mask": PADDING},
    "causal": {"mask": CAUSAL},
    "hinted": {"mask": CAUSAL, "is_causal": True},
    "causal and padding": {"mask": CAUSAL, "src_key_padding_mask": PADDING},
    "floats": {"mask": nn.Transformer.generate_square_subsequent_mask(L)},
    "added": {"mask": torch.linspace(-2, 2, L * L).reshape(L, L).fill_diagonal_(0)},
    "of each head": {"mask": torch.stack([CAUSAL, torch.zeros_like(CAUSAL)] * N)},
}
MODES = list(itertools.product(("train", "eval"), ("grad", "no_grad")))

pytestmark = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors", "ignore:enable_nested_tensor is True", "ignore:Support for mismatched"
)


def x(length: int = L, *, batch_first: bool = True, seed: int = 1) -> Tensor:
    made = torch.randn(N, length, E, generator=torch.Generator().manual_seed(seed))
    return made if batch_first else made.transpose(0, 1)


def encoder(**options: Any) -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, **{"batch_first": True, **options})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(E))
    with torch.no_grad():
        for parameter in made.parameters():  # layers that differ, with biases
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
def test_an_encoder(batch_first: bool, norm_first: bool, masks: str, mode: tuple[str, str]) -> None:
    model = encoder(batch_first=batch_first, norm_first=norm_first).train(mode[0] == "train")
    given = MASKS[masks]
    with torch.set_grad_enabled(mode[1] == "grad"):
        run = run_of(model, lambda m: m(x(batch_first=batch_first), **given))
    wanted = Pass()
    read = given.get("mask")
    if masks == "added" and batch_first and mode == ("eval", "no_grad"):
        read = read != 0  # torch's fast path hides where others add
        assert [note.partition(" hid every key")[0] for note in run.notes] == [layer.name for layer in run.layers]
    masked = {"self": read, "self_padding": given.get("src_key_padding_mask")}
    wanted.stack("", model, array(x()), masked)
    assert [layer.name for layer in run.layers] == list(wanted.weights)
    # With nested tensors padded queries are not computed.
    real = ~PADDING if NESTED in run.notes else torch.ones(N, L, dtype=torch.bool)
    for layer in run.layers:
        assert layer.weights.shape == (N, H, L, L)
        got, expected = (w.transpose(0, 2, 1, 3)[real] for w in (layer.weights.numpy(), wanted.weights[layer.name]))
        np.testing.assert_allclose(got, expected, rtol=0, atol=2e-6)
        assert layer.output_change <= 1e-5
        assert layer.passed.attn_mask is None or torch.equal(layer.passed.attn_mask, given["mask"])
        assert (layer.key_padding_mask is None) == ("src_key_padding_mask" not in given)
        assert torch.equal(layer.passed.attn_mask if "mask" in given else CAUSAL, given.get("mask", CAUSAL))
    norms = [np.linalg.norm(step, axis=-1) for step in wanted.stream]
    assert [name for name, _ in run.norms] == ["layers.0 input", "layers.0", "layers.1"]
    for (_, got), expected in zip(run.norms, norms, strict=True):
        np.testing.assert_allclose(got.numpy()[real], expected[real], rtol=1e-5)


def test_nested_tensors_are_seen_whole_and_the_padding_that_was_passed_is_kept() -> None:
    model = encoder().eval()
    with torch.no_grad():
        assert (model(x(), src_key_padding_mask=PADDING)[1, 3:] == model(x(), src_key_padding_mask=PADDING)[1, 4]).all()
        run = run_of(model, lambda m: m(x(), src_key_padding_mask=PADDING))
    assert "nested tensors" in run.notes[0]
    assert [layer.weights.shape[2:] for layer in run.layers] == [(L, L), (L, L)]
    assert torch.equal(run.layers[1].key_padding_mask, PADDING)
    assert run.layers[1].weights[1, :, :, 3:].max() == 0
    longest_is_short = torch.tensor([[False] * 3 + [True] * 2] * 2)
    with torch.no_grad():
        run = run_of(model, lambda m: m(x(), src_key_padding_mask=longest_is_short))
    assert run.layers[0].weights.shape == (N, H, L, L)


def test_a_nested_tensor_of_the_users_own_is_padded_to_its_longest_item() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, H, 32, batch_first=True).eval()
    items = [torch.randn(4, E), torch.randn(2, E)]
    with torch.no_grad(), capture(layer) as captured:
        layer(torch.nested.nested_tensor(items))
    record = captured.run().layers[0]
    assert record.name == "self_attn"
    assert record.key_padding_mask.tolist() == [[False] * 4, [False, False, True, True]]
    alone = layer.self_attn(*[items[1][None]] * 3, average_attn_weights=False)[1]
    assert torch.allclose(record.weights[1:, :, :2, :2], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
def test_a_whole_transformer(batch_first: bool, norm_first: bool, mode: tuple[str, str]) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Transformer(E, H, 2, 2, 32, dropout=0.0, batch_first=batch_first, norm_first=norm_first)
    model.train(mode[0] == "train")
    tgt_mask, memory_mask = torch.ones(S, S, dtype=torch.bool).triu(1), torch.zeros(S, L, dtype=torch.bool)
    memory_mask[:, 0] = True
    tgt_padding = torch.tensor([[False] * S, [False] * 3 + [True]])
    masks = {
        "tgt_mask": tgt_mask,
        "memory_mask": memory_mask,
        "src_key_padding_mask": PADDING,
        "tgt_key_padding_mask": tgt_padding,
        "memory_key_padding_mask": PADDING,
    }
    src, tgt = x(batch_first=batch_first), x(S, batch_first=batch_first, seed=2)
    with torch.set_grad_enabled(mode[1] == "grad"):
        run = run_of(model, lambda m: m(src, tgt, **masks))
    wanted = Pass()
    memory = wanted.stack("encoder.", model.encoder, array(x()), {"self_padding": PADDING})
    own = {"self": tgt_mask, "self_padding": tgt_padding, "memory": memory_mask, "memory_padding": PADDING}
    wanted.stack("decoder.", model.decoder, array(x(S, seed=2)), own, memory)
    assert [layer.name for layer in run.layers] == list(wanted.weights)
    real = ~PADDING if NESTED in run.notes else torch.ones(N, L, dtype=torch.bool)
    for layer in run.layers:
        rows = real if layer.name.startswith("encoder") else torch.ones(N, S, dtype=torch.bool)
        got, expected = (w.transpose(0, 2, 1, 3)[rows] for w in (layer.weights.numpy(), wanted.weights[layer.name]))
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6, err_msg=layer.name)
        assert layer.output_change <= 1e-6
    assert [name for name, _ in run.norms] == [
        *("encoder.layers.0 input", "encoder.layers.0", "encoder.layers.1"),
        *("decoder.layers.0 input", "decoder.layers.0", "decoder.layers.1"),
    ]


def test_a_decoder_alone() -> None:
    torch.manual_seed(0)
    model = nn.TransformerDecoder(nn.TransformerDecoderLayer(E, H, 32, batch_first=True), 2).eval()
    run = run_of(model, lambda m: m(x(S), x(), tgt_is_causal=True, tgt_mask=torch.ones(S, S).triu(1).bool()))
    wanted = Pass()
    wanted.stack("", model, array(x(S)), {"self": torch.ones(S, S).triu(1).bool()}, array(x()))
    for layer in run.layers:
        np.testing.assert_allclose(layer.weights.numpy(), wanted.weights[layer.name], rtol=0, atol=1e-6)


def test_a_class_derived_from_torchs_layer_runs_as_itself() -> None:
    class Sharper(nn.TransformerEncoderLayer):
        def _sa_block(self, x: Tensor, attn_mask: Any, key_padding_mask: Any, is_causal: bool = False) -> Tensor:
            return self.self_attn(2 * x, x, x, attn_mask=attn_mask, need_weights=True)[0]

    class Renamed(nn.TransformerEncoderLayer):
        pass

    torch.manual_seed(0)
    sharper, renamed = Sharper(E, H, 32, batch_first=True), Renamed(E, H, 32, batch_first=True)
    run = run_of(sharper, lambda m: m(x()))
    expected = sharper.self_attn(2 * x(), x(), x(), average_attn_weights=False)[1]
    torch.manual_seed(0)  # dropout 0.1 of the weights, drawn as the first thing
    expected = sharper.self_attn(2 * x(), x(), x(), average_attn_weights=False)[1]
    assert torch.allclose(run.layers[0].weights, expected, rtol=0, atol=1e-6)
    with torch.no_grad():
        run = run_of(renamed.eval(), lambda m: m(x()))  # on the fast path
    assert torch.allclose(
        run.layers[0].weights, renamed.self_attn(*[x()] * 3, average_attn_weights=False)[1], atol=1e-6
    )


def test_dropout_draws_the_same_cells_for_the_weights() -> None:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 32, dropout=0.5, batch_first=True), 2)
    run = run_of(model, lambda m: m(x(), mask=CAUSAL))
    for layer in run.layers:
        assert layer.dropout == 0.5
        assert (layer.weights[:, :, CAUSAL.logical_not()] == 0).any()
        assert layer.output_change <= 1e-6
    assert run.notes == ()
