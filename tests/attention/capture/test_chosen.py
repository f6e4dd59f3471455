"""What is kept: layers, heads, batch items, megabytes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mha_viz.attention.capture import capture
from mha_viz.errors import CaptureWarning, InputError
from tests.attention.capture.transparency import run_of

N, L, E, H = 3, 8, 16, 4
X = torch.randn(N, L, E, generator=torch.Generator().manual_seed(1))
MASK = torch.rand(N * H, L, L, generator=torch.Generator().manual_seed(2)) < 0.3
MASK[..., 0] = False
PADDING = torch.tensor([[False] * L, [False] * 6 + [True] * 2, [False] * 5 + [True] * 3])
WEIGHTS = N * H * L * L * 4  # bytes of a layer's


def model() -> nn.TransformerEncoder:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def run(**options: Any) -> Any:
    return run_of(model(), lambda m: m(X, MASK, PADDING), **options)


@pytest.mark.parametrize(
    ("layers", "kept"),
    [
        ("layers.1", [1]),
        (["layers.0.self_attn", "*.2.*"], [0, 2]),
        ("layers.[01].self_attn", [0, 1]),
        (["layers"], [0, 1, 2]),
    ],
    ids=str,
)
def test_layers_by_name_and_pattern(layers: Any, kept: list[int]) -> None:
    names = [layer.name for layer in run(layers=layers).layers]
    assert names == [f"layers.{i}.self_attn" for i in kept]


@pytest.mark.parametrize(("heads", "items"), [([2], None), (None, [2, 0]), ([3, 1], [1])], ids=str)
def test_heads_and_items(heads: list[int] | None, items: list[int] | None) -> None:
    whole, part = run(inside=True), run(heads=heads, items=items, inside=True)
    h, n = heads or list(range(H)), items or list(range(N))
    for all_of_it, layer in zip(whole.layers, part.layers, strict=True):
        assert torch.equal(layer.weights, all_of_it.weights[n][:, h])
        assert torch.equal(layer.allowed, all_of_it.allowed[n][:, h])
        assert torch.equal(layer.output, all_of_it.output[n])
        assert torch.equal(layer.call.query, all_of_it.call.query[n])
        assert layer.call.query is layer.call.value
        assert (layer.heads, layer.items) == (heads and tuple(heads), items and tuple(items))
        assert torch.equal(layer.passed.attn_mask, MASK)
    assert part.layers[0].head_name(0) == f"head {h[0]}"
    assert torch.equal(part.norms[1][1], whole.norms[1][1][n])


def test_a_layer_with_fewer_heads_keeps_those_it_has() -> None:
    torch.manual_seed(0)
    few, many = nn.TransformerEncoderLayer(E, 1, 32), nn.TransformerEncoderLayer(E, 8, 32)
    found = run_of(nn.Sequential(few, many), lambda m: m(X), heads=[2, 5])
    assert [(layer.name, layer.heads) for layer in found.layers] == [("1.self_attn", (2, 5))]
    assert found.notes == ("0.self_attn has 1 heads and 8 batch items, none of which was chosen.",)


def test_a_warning_comes_once_before_the_limit_and_the_run_says_what_is_missing() -> None:
    limit = 2.6 * (WEIGHTS + N * L * E * 4) / 2**20 + (MASK.nbytes + PADDING.nbytes) / 2**20
    stack = model()
    with capture(stack, limit_mb=limit) as captured:
        with pytest.warns(CaptureWarning, match=r"layers\.2\.self_attn would add .* more than limit_mb=") as warned:
            first = stack(X, MASK, PADDING)
        stack(X, MASK, PADDING)  # warns no more
    assert len(warned) == 1
    assert torch.equal(first, stack(X, MASK, PADDING))
    found = captured.run()
    assert [layer.name for layer in found.layers] == ["layers.0.self_attn", "layers.1.self_attn"]
    assert found.notes == (
        f"4 of 6 attention calls do not fit limit_mb={limit:g}: layers.2.self_attn, layers.0.self_attn (call 2), "
        "layers.1.self_attn (call 2), layers.2.self_attn (call 2).",
    )


def test_a_mask_that_layers_share_is_held_once() -> None:
    found = run()
    assert len({id(layer.attn_mask) for layer in found.layers}) == 1
    assert found.layers[0].passed.attn_mask is found.layers[0].attn_mask


def test_a_mask_that_is_written_to_between_calls_is_kept_as_it_was() -> None:
    mha, mask = nn.MultiheadAttention(E, H, batch_first=True), torch.zeros(L, L, dtype=torch.bool)
    with capture(mha) as captured:
        mha(X, X, X, attn_mask=mask)
        mask[:, 0] = True
        mha(X, X, X, attn_mask=mask)
    first, second = (layer.attn_mask[:, 0].tolist() for layer in captured.run().layers)
    assert (first, second) == ([False] * L, [True] * L)


def test_outputs_that_the_model_writes_into_are_kept_as_they_were() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = nn.MultiheadAttention(E, H, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            output, weights = self.attn(x, x, x, average_attn_weights=False)
            weights.zero_()
            return output.mul_(0)

    model = InPlace()
    with torch.no_grad(), capture(model) as captured:
        model(X)
        expected = nn.MultiheadAttention.forward(model.attn, X, X, X, average_attn_weights=False)
    record = captured.run().layers[0]
    assert torch.allclose(record.output, expected[0], rtol=0, atol=1e-6)
    assert torch.allclose(record.weights, expected[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit_mb": 0}, "limit_mb must be more than 0, not 0."),
        ({"layers": []}, "layers must be names of modules or patterns, such as ['encoder.*'], not []."),
        ({"layers": [0, 5]}, "layers must be names of modules or patterns, such as ['encoder.*'], not [0, 5]."),
        ({"heads": [-1]}, "heads must be different indices from 0 on, such as [0, 2], not [-1]."),
        ({"items": [1, 1]}, "items must be different indices from 0 on, such as [0, 2], not [1, 1]."),
        ({"items": []}, "items must be different indices from 0 on, such as [0, 2], not []."),
    ],
    ids=str,
)
def test_what_cannot_be_chosen(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        capture(model(), **options)
    assert str(caught.value) == message


def test_a_choice_of_which_nothing_is_left() -> None:
    with pytest.raises(InputError) as caught:
        run(layers="decoder")
    assert str(caught.value) == (
        "layers must name modules that attend, such as layers.0.self_attn, layers.1.self_attn, layers.2.self_attn, "
        "not decoder."
    )
    with pytest.raises(InputError, match=r"nothing is left\. layers\.0\.self_attn has 4 heads and 3 batch items, none"):
        run(items=[3])
