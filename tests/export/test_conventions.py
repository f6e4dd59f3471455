"""One mask in every convention: the code runs, and the torch ones agree with each other."""

from __future__ import annotations

import ast
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask

from mha_viz.export import conventions, sparsity
from mha_viz.masks import PATTERNS, Mask, mask
from tests.masks.strategies import masks

E, SIZE = 8, {"batch_size": 3, "num_heads": 2, "query_len": 7, "key_len": 9}
N, H, L, S = SIZE.values()
LABELS = [
    "nn.MultiheadAttention, bool",
    "nn.MultiheadAttention, float",
    "nn.MultiheadAttention, 3-D",
    "F.scaled_dot_product_attention",
    "FlexAttention",
    "Hugging Face",
    "JAX and Flax",
    "Keras",
]
# Patterns, masks that differ by item and head, and ones in which min, max and plain sizes have to be translated.
MASKS = [
    *(pattern.example for pattern in PATTERNS.values()),
    "causal & padding(9, 5, 7)",
    "causal | (h == 1)",
    "(b == 1) & causal | (h == 0) & window(2)",
    "(max(q - k, 2) <= min(3, q, L)) | causal",
    "(L == S) | causal",
    "causal ^ cells(2, 4, 5)",
]


def whole(written: Mask) -> Tensor:
    return written.allowed(L, S, batch_size=N, num_heads=H).expand(N, H, L, S)


def executed(source: str, **names: Any) -> dict[str, Any]:
    exec(compile(source, "convention.py", "exec"), names)
    return names


class Layer:
    """A real module with its inputs, and the same projections laid out for the functions without a module."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.mha = nn.MultiheadAttention(E, H, batch_first=True)
        self.given = {"query": torch.randn(N, L, E), "key": torch.randn(N, S, E), "value": torch.randn(N, S, E)}
        weights, biases = self.mha.in_proj_weight.chunk(3), self.mha.in_proj_bias.chunk(3)
        self.projected = {
            name: (x @ w.T + b).unflatten(-1, (H, -1)).transpose(1, 2)  # [N, H, length, D]
            for (name, x), w, b in zip(self.given.items(), weights, biases, strict=True)
        }

    def after(self, attended: Tensor) -> Tensor:
        """Put heads together and project, as the module does behind its attention."""
        return self.mha.out_proj(attended.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("text", MASKS)
def test_the_torch_conventions_build_the_mask_and_agree_in_their_output(text: str) -> None:
    layer, written = Layer(), mask(text)
    code = conventions(written, **SIZE)
    allowed = whole(written)
    seen = allowed.any(-1)  # [N, H, L]; what becomes of a query that sees nothing differs from path to path
    outputs = []
    for label in LABELS[:3]:
        made = executed(code[label], mha=layer.mha, **layer.given)
        hidden = made["attn_mask"] if label != LABELS[1] else made["attn_mask"] == -torch.inf
        assert torch.equal(
            hidden.expand(N * H, L, S).unflatten(0, (N, H)) if hidden.dim() == 3 else hidden.expand(N, H, L, S),
            ~allowed,
        )
        outputs.append(made["output"])
    made = executed(code[LABELS[3]], **layer.projected)
    assert torch.equal(made["attn_mask"].expand(N, H, L, S), allowed)
    outputs.append(layer.after(made["output"]))
    for output in outputs[1:]:
        torch.testing.assert_close(output[seen.all(1)], outputs[0][seen.all(1)], rtol=0, atol=1e-6)


def test_conventions_are_labelled_in_this_order() -> None:
    assert list(conventions(mask("causal"), **SIZE)) == LABELS


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("text", MASKS)
def test_every_convention_is_python_and_ends_with_its_mask_in_use(text: str, label: str) -> None:
    source = conventions(mask(text), **SIZE)[label]
    ast.parse(source)
    assert "mask=" in source.splitlines()[-1]


@pytest.mark.parametrize("text", MASKS)
def test_the_block_mask_of_flex_attention_allows_the_same(text: str) -> None:
    written = mask(text)
    source = conventions(written, **SIZE)["FlexAttention"].rpartition("\noutput")[0]
    made = executed(source, query=torch.zeros(N, H, L, 4))
    positions = torch.meshgrid(*(torch.arange(size) for size in (N, H, L, S)), indexing="ij")
    assert torch.equal(made["mask_mod"](*positions).expand(N, H, L, S), whole(written))
    block_mask = made["block_mask"]
    assert block_mask.seq_lengths == (L, S)
    blocks = block_mask.kv_num_blocks + block_mask.full_kv_num_blocks  # [N or 1, H or 1, 1]
    assert torch.equal(blocks[..., 0].expand(N, H).bool(), whole(written).any(-1).any(-1))


@pytest.mark.parametrize(
    "text", ["causal & window(2)", "causal & padding(9, 5, 7)", "causal | (h == 1)", "random(0.5, 3)"]
)
def test_flex_attention_gives_the_output_of_scaled_dot_product_attention(text: str) -> None:
    layer, code = Layer(), conventions(mask(text), **SIZE)
    inputs = {name: x.detach() for name, x in layer.projected.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "flex_attention called without torch.compile", UserWarning)
        flex = executed(code["FlexAttention"], **inputs)["output"]
    sdpa = executed(code["F.scaled_dot_product_attention"], **inputs)["output"]
    torch.testing.assert_close(flex, sdpa, rtol=0, atol=1e-6)


@pytest.mark.parametrize("text", MASKS)
def test_the_hugging_face_mask_has_one_where_attention_goes(text: str) -> None:
    written = mask(text)
    made = executed(conventions(written, **SIZE)["Hugging Face"])["attention_mask"]
    if made.dim() == 2:
        assert set(made.unique().tolist()) <= {0, 1}
        assert torch.equal(made.bool()[:, None, None].expand(N, H, L, S), whole(written))
    else:
        assert torch.equal((made == 0).expand(N, H, L, S), whole(written))
        assert made.min() in (0, torch.finfo(torch.float32).min)


def test_a_padding_mask_for_hugging_face_is_one_and_zero_by_item_and_key() -> None:
    made = executed(conventions(mask("padding(9, 5, 7)"), **SIZE)["Hugging Face"])["attention_mask"]
    assert made.tolist() == [[1] * length + [0] * (S - length) for length in (9, 5, 7)]


def array_mask(source: str) -> Tensor:
    """Run the mask part of the code for arrays; NumPy stands for jax.numpy, which has its functions."""
    lines = [line for line in source.splitlines() if not line.startswith(("import", "from", "jax.", "output"))]
    return torch.from_numpy(executed("\n".join(lines), np=np, jnp=np)["mask"].copy())


@pytest.mark.parametrize("text", MASKS)
def test_code_for_jax_and_keras_computes_the_mask(text: str) -> None:
    code = conventions(mask(text), **SIZE)
    assert torch.equal(array_mask(code["JAX and Flax"]), whole(mask(text)))
    made = array_mask(code["Keras"])
    assert torch.equal(made if made.dim() == 4 else made[:, None].expand(N, H, L, S), whole(mask(text)))


@given(masks)
def test_code_for_arrays_computes_any_mask(written: Mask) -> None:
    assert torch.equal(array_mask(conventions(written, **SIZE)["JAX and Flax"]), whole(written))


def test_jax_is_told_to_count_in_64_bits_where_a_mask_needs_it() -> None:
    assert "jax_enable_x64" in conventions(mask("random(0.1)"), **SIZE)["JAX and Flax"]
    assert "jax_enable_x64" not in conventions(mask("causal"), **SIZE)["JAX and Flax"]


def test_code_for_multihead_attention_is_what_one_would_write() -> None:
    assert conventions(mask("causal & window(2)"), **SIZE)["nn.MultiheadAttention, bool"] == (
        "import torch\n"
        "\n"
        "N, H, L, S = 3, 2, 7, 9\n"
        "q = torch.arange(L).reshape(L, 1)\n"
        "k = torch.arange(S)\n"
        "allowed = torch.broadcast_to((k <= q) & (abs(q - k) <= 2), (L, S))  # True = may attend\n"
        "attn_mask = ~allowed  # nn.MultiheadAttention reads True as: ignore\n"
        "\n"
        "# mha = nn.MultiheadAttention(E, H, batch_first=True); query [N, L, E], key and value [N, S, E]\n"
        "output, weights = mha(query, key, value, attn_mask=attn_mask, average_attn_weights=False)\n"
    )


@pytest.mark.parametrize("size", [(512, 512), (300, 700), (128, 1024), (100, 50)])
@pytest.mark.parametrize(
    "text",
    ["full", "causal", "causal & window(60)", "block(200)", "~full", "causal & padding(90, 500)", "causal | (h == 1)"],
)
def test_sparsity_is_the_share_of_blocks_that_flex_attention_skips(text: str, size: tuple[int, int]) -> None:
    sizes = dict(zip(("query_len", "key_len"), size, strict=True), batch_size=2, num_heads=2)
    share = sparsity(mask(text), **sizes)
    made = executed(conventions(mask(text), **sizes)["FlexAttention"].rpartition("\noutput")[0], query=torch.zeros(1))[
        "block_mask"
    ]
    computed = made.kv_num_blocks + made.full_kv_num_blocks
    total = computed.numel() * -(-size[1] // 128)
    assert share == pytest.approx(1 - computed.sum().item() / total, abs=1e-12)
    if not (size[0] % 128 or size[1] % 128):
        assert 100 * share == pytest.approx(made.sparsity(), abs=1e-4)


def test_sparsity_of_a_long_sequence_is_computed_by_rows_of_blocks() -> None:
    assert sparsity(mask("causal"), query_len=4096, key_len=4096) == pytest.approx(1 - 33 / 64)
    assert create_block_mask(
        lambda b, h, q, k: k <= q, None, None, 4096, 4096, device="cpu"
    ).sparsity() == pytest.approx(100 * (1 - 33 / 64))
