"""Attention that is written out: `F.scaled_dot_product_attention` and softmaxes, against einsum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.functional import scaled_dot_product_attention as imported_early

from mha_viz.attention.capture import capture
from mha_viz.errors import InputError
from tests.attention.capture.transparency import run_of

N, L, S, H, D = 2, 5, 6, 4, 8
Written = Callable[..., Tensor]


class Attends(nn.Module):
    """Calls a function on its own q, k and v, which are made in the constructor."""

    def __init__(self, function: Written, *lead: int, heads: int | None = None, keys: int = S, dim: int = D) -> None:
        super().__init__()
        torch.manual_seed(0)
        kv = (*lead[:-1], heads) if heads else lead
        self.q = nn.Parameter(torch.randn(*lead, L, D))
        self.k = nn.Parameter(torch.randn(*kv, keys, D))
        self.v = nn.Parameter(torch.randn(*kv, keys, dim))
        self.function = function

    def forward(self) -> Tensor:
        return self.function(self.q, self.k, self.v)

    def weights(self, added: Tensor | float = 0.0, scale: float = 1 / math.sqrt(D)) -> Tensor:
        times = self.q.shape[-3] // self.k.shape[-3] if self.q.dim() > 3 else 1
        k = self.k.repeat_interleave(times, -3) if times > 1 else self.k
        scores = torch.einsum("...ld,...sd->...ls", self.q, k) * scale + added
        return (scores - scores.amax(-1, keepdim=True)).exp() / (scores - scores.amax(-1, keepdim=True)).exp().sum(
            -1, True
        )


def hidden(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)


FUTURE = torch.ones(L, S, dtype=torch.bool).tril()
KEYS = (torch.arange(S) < torch.tensor([6, 4])[:, None])[:, None, None]  # [N, 1, 1, S]
HEADS = torch.rand(H, L, S, generator=torch.Generator().manual_seed(1)) < 0.6
HEADS[..., 0] = True
BIAS = torch.randn(N, H, L, S, generator=torch.Generator().manual_seed(2))
# Options of the function, and what they add to the scores.
CASES: dict[str, tuple[dict[str, Any], Tensor | float]] = {
    "nothing": ({}, 0.0),
    "is_causal": ({"is_causal": True}, hidden(FUTURE)),
    "a mask": ({"attn_mask": FUTURE}, hidden(FUTURE)),
    "padding": ({"attn_mask": KEYS}, hidden(KEYS)),
    "of each head": ({"attn_mask": HEADS}, hidden(HEADS)),
    "both": ({"attn_mask": KEYS, "is_causal": True}, hidden(KEYS & FUTURE)),
    "floats": ({"attn_mask": BIAS}, BIAS),
    "finfo.min": ({"attn_mask": hidden(KEYS).clamp(min=torch.finfo(torch.float32).min)}, hidden(KEYS)),
    "scale": ({"scale": 0.5}, 0.0),
}


@pytest.mark.parametrize(("options", "added"), CASES.values(), ids=CASES)
def test_the_function_gives_its_weights(options: dict[str, Any], added: Tensor | float) -> None:
    model = Attends(lambda q, k, v: imported_early(q, k, v, **options), N, H)
    run = run_of(model, lambda m: m())
    record = run.layers[0]
    expected = model.weights(added, options.get("scale", 1 / math.sqrt(D)))
    assert torch.allclose(record.weights, expected, rtol=0, atol=1e-6)
    assert torch.allclose(record.output, (expected @ model.v).transpose(1, 2).flatten(2), rtol=0, atol=1e-5)
    assert record.output_change <= 1e-6
    assert (record.how, record.passed.api, record.name) == ("function", "sdpa", "Attends")
    allowed = torch.ones(1, 1, L, S, dtype=torch.bool)
    if isinstance(added, Tensor):
        allowed = (added > -torch.inf).expand(N, H, L, S)
    assert torch.equal(record.allowed.expand(N, H, L, S), allowed.expand(N, H, L, S))
    mask = options.get("attn_mask")
    assert record.passed.attn_mask is None if mask is None else torch.equal(record.passed.attn_mask, mask)
    assert record.passed.is_causal == options.get("is_causal", False)


def test_a_mask_is_kept_in_the_smallest_form_that_says_it() -> None:
    def shapes(mask: Tensor) -> tuple[Any, Any]:
        record = run_of(Attends(lambda q, k, v: imported_early(q, k, v, attn_mask=mask), N, H), lambda m: m()).layers[0]
        return tuple(None if m is None else tuple(m.shape) for m in (record.attn_mask, record.key_padding_mask))

    assert shapes(FUTURE) == ((L, S), None)
    assert shapes(FUTURE.expand(N, H, L, S)) == ((L, S), None)
    assert shapes(KEYS) == (None, (N, S))
    assert shapes(KEYS.expand(N, H, L, S)) == (None, (N, S))
    assert shapes(HEADS) == ((N * H, L, S), None)
    assert shapes(torch.ones(L, S, dtype=torch.bool)) == (None, None)


@pytest.mark.parametrize("lead", [(), (3,), (2, 4), (2, 3, 4)], ids=str)
def test_any_number_of_leading_dimensions(lead: tuple[int, ...]) -> None:
    model = Attends(lambda q, k, v: F.scaled_dot_product_attention(q, k, v), *lead)
    record = run_of(model, lambda m: m()).layers[0]
    heads = lead[-1] if len(lead) > 1 else 1
    assert torch.allclose(record.weights, model.weights().reshape(-1, heads, L, S), rtol=0, atol=1e-6)
    assert record.output.shape == (math.prod(lead) // heads, L, heads * D)


def test_windows_with_masks_of_their_own() -> None:
    mask = torch.rand(1, 3, 1, L, S, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[..., 0] = True
    model = Attends(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), 2, 3, 4)
    record = run_of(model, lambda m: m()).layers[0]
    assert torch.allclose(record.weights, model.weights(hidden(mask)).flatten(0, 1), rtol=0, atol=1e-6)
    assert torch.equal(record.allowed.expand(6, 4, L, S), mask.expand(2, 3, 4, L, S).flatten(0, 1))


@pytest.mark.parametrize(
    ("lead", "given", "kept"),
    [
        ((), (S,), (1, S)),
        ((3,), (S,), (1, S)),
        ((3,), (L, S), (L, S)),
        ((3,), (3, L, S), (3, 1, L, S)),
        ((2, 4), (4, L, S), (4, L, S)),
        ((2, 4), (2, 1, 1, S), (2, 1, 1, S)),
        ((2, 3, 4), (4, L, S), (4, L, S)),
        ((2, 3, 4), (3, 1, L, S), (6, 1, L, S)),
        ((2, 3, 4), (1, 3, 1, L, S), (6, 1, L, S)),
    ],
    ids=str,
)
def test_a_passed_mask_is_kept_as_it_broadcasts_to_the_weights(
    lead: tuple[int, ...], given: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    mask = torch.randn(given, generator=torch.Generator().manual_seed(0))
    model = Attends(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), *lead)
    record = run_of(model, lambda m: m()).layers[0]
    assert record.passed.attn_mask.shape == kept
    whole = mask.expand(*lead, L, S).reshape(record.weights.shape)
    assert torch.equal(record.passed.attn_mask.expand_as(record.weights), whole)
    assert torch.allclose(record.weights, model.weights(mask).reshape(record.weights.shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize("lead", [(1, 3, 4), (3, 4)], ids=str)
def test_masks_of_queries_that_broadcast_over_the_batch_of_the_keys(lead: tuple[int, ...]) -> None:
    mask = hidden(FUTURE).expand(2, 1, 1, L, S)
    model = Attends(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), 2, 3, 4)
    model.q = nn.Parameter(torch.randn(*lead, L, D))
    record = run_of(model, lambda m: m()).layers[0]
    assert torch.allclose(record.weights, model.weights(mask).flatten(0, 1), rtol=0, atol=1e-6)
    assert record.passed.attn_mask.shape == (6, 1, L, S)


def test_a_mask_for_each_item_where_there_are_no_heads() -> None:
    mask = torch.rand(3, L, S, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[..., 0] = True
    model = Attends(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask), 3)
    record = run_of(model, lambda m: m()).layers[0]
    assert torch.allclose(record.weights[:, 0], model.weights(hidden(mask)), rtol=0, atol=1e-6)
    assert torch.equal(record.allowed.expand(3, 1, L, S)[:, 0], mask)


@pytest.mark.parametrize("dim", [1, 3, D, 20])
def test_grouped_heads_and_values_of_another_size(dim: int) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)

    model = Attends(attend, N, H, heads=2, dim=dim)
    record = run_of(model, lambda m: m()).layers[0]
    assert torch.allclose(record.weights, model.weights(hidden(FUTURE)), rtol=0, atol=1e-6)
    assert record.output.shape == (N, L, H * dim)
    assert record.output_change <= 1e-6


def test_dropout_of_the_function_drops_the_cells_that_the_call_dropped() -> None:
    model = Attends(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, dropout_p=0.5), N, H)
    run = run_of(model, lambda m: m())
    record = run.layers[0]
    assert record.dropout == 0.5
    dropped = record.weights == 0
    assert 0.2 < dropped.float().mean() < 0.8
    assert torch.allclose(record.weights, (2 * model.weights()).masked_fill(dropped, 0.0), rtol=0, atol=1e-6)
    assert record.output_change <= 1e-6
    assert run.notes == ()


def test_rows_that_see_nothing_are_zero_as_the_function_has_them() -> None:
    mask = torch.ones(L, S, dtype=torch.bool)
    mask[2] = False
    record = run_of(Attends(lambda q, k, v: imported_early(q, k, v, attn_mask=mask), N, H), lambda m: m()).layers[0]
    assert (record.weights[:, :, 2] == 0).all()
    assert (record.output[:, 2] == 0).all()


SOFTMAXES: dict[str, Callable[[Tensor], Tensor]] = {
    "torch.softmax": lambda x: torch.softmax(x, -1),
    "Tensor.softmax": lambda x: x.softmax(dim=3),
    "F.softmax": lambda x: F.softmax(x, dim=-1, dtype=torch.float32),
    "nn.Softmax": lambda x: nn.Softmax(-1)(x),
    "torch.special.softmax": lambda x: torch.special.softmax(x, -1),
}


@pytest.mark.parametrize("hides", [-torch.inf, -1e4, -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("softmax", SOFTMAXES.values(), ids=SOFTMAXES)
def test_attention_by_hand(softmax: Callable[[Tensor], Tensor], hides: float) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return softmax((q @ k.mT / math.sqrt(D)).masked_fill(~(FUTURE & KEYS), hides)) @ v

    model = Attends(attend, N, H)
    run = run_of(nn.Sequential(model, nn.Identity()), lambda m: m[0]())
    (record,) = run.layers
    assert torch.allclose(record.weights, model.weights(hidden(FUTURE & KEYS)), rtol=0, atol=1e-6)
    assert torch.equal(record.allowed.expand(N, H, L, S), (FUTURE & KEYS).expand(N, H, L, S))
    assert (record.name, record.how, record.output) == ("0", "softmax", None)


def test_other_softmaxes_are_not_attention() -> None:
    model = Attends(lambda q, k, v: q.softmax(1) + q[0].softmax(-1) + torch.log_softmax(q, -1), N, H)
    with capture(model) as captured:
        model()
        torch.randn(1, 2, 3, 4).softmax(-1)  # not the model's
    with pytest.raises(InputError, match=r"capture must see attention, but there was none: it reads nn\.Multihead"):
        captured.run()


class Block(nn.Module):
    """A block as timm writes it: one projection for q, k and v, fused or not."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.qkv, self.proj, self.norm = nn.Linear(H * D, 3 * H * D), nn.Linear(H * D, H * D), nn.LayerNorm(H * D)
        self.attn_drop, self.fused = nn.Dropout(0.0), fused

    def forward(self, x: Tensor) -> Tensor:
        n, length, dim = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, length, 3, H, D).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            attended = F.scaled_dot_product_attention(q, k, v)
        else:
            attended = self.attn_drop((q * D**-0.5 @ k.transpose(-2, -1)).softmax(dim=-1)) @ v
        return x + self.proj(attended.transpose(1, 2).reshape(n, length, dim))


@pytest.mark.parametrize("mode", ["train", "eval", "no_grad", "inference"])
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "written out"])
def test_blocks_of_an_image_model(fused: bool, mode: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(fused) for _ in range(3))).train(mode == "train")
    x = torch.randn(N, 10, H * D)
    contexts = {"no_grad": torch.no_grad, "inference": torch.inference_mode}
    with contexts.get(mode, torch.enable_grad)():
        run = run_of(model, lambda m: m(x))
    assert [layer.name for layer in run.layers] == ["0", "1", "2"]
    for block, layer in zip(model, run.layers, strict=True):
        q, k, _ = block.qkv(block.norm(x)).view(N, 10, 3, H, D).unbind(2)
        expected = (torch.einsum("nlhd,nshd->nhls", q, k) / math.sqrt(D)).softmax(-1)
        assert torch.allclose(layer.weights, expected, rtol=0, atol=1e-6)
        assert not layer.weights.is_inference()
        assert not layer.weights.requires_grad
        x = block(x)
