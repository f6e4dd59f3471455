"""The table of execution paths: the installed torch's behaviour, and that nothing outside is changed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mha_viz.attention import paths
from mha_viz.attention.path_table import PathTable
from mha_viz.attention.paths import FLEX, MODULE_PATHS, SDPA, compare_paths
from mha_viz.errors import InputError
from mha_viz.scenario import Scenario

L, E = 5, 16
CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)
WEIGHTS_EVAL = "need_weights=True, eval"
EVAL = "need_weights=False, eval"
WEIGHTS_INFERENCE = "need_weights=True, eval, no_grad"
INFERENCE = "need_weights=False, eval, no_grad"
SLOW = "need_weights=False, eval, no_grad, fast path off"
WEIGHTS_TRAIN = "need_weights=True, train"
TRAIN = "need_weights=False, train"
NEEDS_MASK = (
    "RuntimeError: Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
    "`generate_square_subsequent_mask` to create this mask."
)


def attention(**settings: Any) -> nn.MultiheadAttention:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(E, 4, **{"batch_first": True, **settings}).eval()
    if layer.out_proj.bias is not None:
        nn.init.normal_(layer.out_proj.bias)
    return layer


def vectors(items: int = 2, length: int = L) -> Tensor:
    return torch.randn(items, length, E, generator=torch.Generator().manual_seed(1))


def words(table: PathTable) -> dict[str, str]:
    return {row.name: row.words for row in table.rows}


def test_the_paths_and_their_kernels() -> None:
    table = compare_paths(attention(), vectors(), attn_mask=CAUSAL)
    assert {row.name: row.kernel for row in table.rows} == {
        WEIGHTS_EVAL: "softmax",
        EVAL: "fused",
        WEIGHTS_INFERENCE: "fast path",
        INFERENCE: "fast path",
        SLOW: "fused",
        WEIGHTS_TRAIN: "softmax",
        TRAIN: "fused",
        SDPA: "fused",
        FLEX: "unfused",
    }
    assert table.same
    assert words(table) == dict.fromkeys(words(table), "the same") | {WEIGHTS_EVAL: "the reference"}
    assert all(row.max_difference < 1e-5 for row in table.rows)


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "mask": {"mask": "causal & window(2)"},
    "per head": {"mask": "causal | (h > 0)"},
    "per item": {"mask": "causal | (b == 1)"},
    "float": {"mask": "causal", "mask_encoding": "float"},
    "bias": {"mask": "causal", "score_bias": "alibi"},
    "padding": {"padding": "3, 5", "mask": "causal"},
    "float padding": {"padding": "3, 5", "mask_encoding": "float", "mask": "full"},
    "hint": {"mask": "causal", "is_causal": True},
    "cross": {"key_len": 7, "kdim": 12, "vdim": 20, "padding": "4, 7", "mask": "window(3)"},
    "extra keys": {"add_bias_kv": True, "add_zero_attn": True, "bias": False, "padding": "3, 5", "mask": "causal"},
    "sequence first": {"batch_first": False, "padding": "3, 5", "mask": "causal"},
    "unbatched": {"batch_size": 1, "unbatched": True, "padding": "4", "mask": "causal"},
    "double": {"dtype": "float64", "mask": "causal"},
    "half": {"dtype": "bfloat16", "mask": "causal"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_all_paths_agree_on_a_correct_mask(name: str) -> None:
    values = {"source": "normal", "query_len": L, "batch_size": 2, "embed_dim": E, "num_heads": 4, "mask": "full"}
    table = compare_paths(Scenario(**{**values, **SETTINGS[name]}))
    assert [row for row in table.rows if row.error] == []
    assert table.same, str(table)


def test_p4_a_fully_masked_row_is_nan_or_the_bias_of_the_output_projection() -> None:
    hidden = CAUSAL.clone()
    hidden[3] = True
    table = compare_paths(attention(), vectors(1), attn_mask=hidden)
    becomes = "1 row (batch 0, query 3) is out_proj.bias (0 before the output projection) where the reference has NaN"
    assert words(table) == {
        WEIGHTS_EVAL: "the reference; 1 row (batch 0, query 3) is NaN: every key is hidden, or the input is NaN",
        EVAL: becomes,
        WEIGHTS_INFERENCE: "the same",
        INFERENCE: "the same",
        SLOW: becomes,
        WEIGHTS_TRAIN: "the same",
        TRAIN: becomes,
        SDPA: becomes,
        FLEX: becomes,
    }
    assert {row.name for row in table.rows if row.nan_rows == 1} == {
        WEIGHTS_EVAL, WEIGHTS_INFERENCE, INFERENCE, WEIGHTS_TRAIN
    }  # fmt: skip
    assert table[EVAL].differing == ((0, 3),)
    assert table[EVAL].max_difference < 1e-5
    assert not table.same


def test_p4_without_a_bias_the_row_is_zero() -> None:
    table = compare_paths(attention(bias=False), vectors(), key_padding_mask=torch.tensor([[True] * L, [False] * L]))
    expected = "5 rows (the first is batch 0, query 0) are 0 where the reference has NaN"
    assert table[EVAL].words == expected
    assert table[EVAL].differing == tuple((0, q) for q in range(L))


def test_p9_without_a_mask_the_hint_is_refused_but_ignored_on_the_fast_path() -> None:
    table = compare_paths(attention(), vectors(), is_causal=True)
    ignored = "in eval with no_grad this layer ignores is_causal and attends to the future"
    refused = f"refuses: {NEEDS_MASK}"
    assert words(table) == {
        WEIGHTS_EVAL: refused,
        EVAL: refused,
        WEIGHTS_INFERENCE: ignored,
        INFERENCE: ignored,
        SLOW: refused,
        WEIGHTS_TRAIN: refused,
        TRAIN: refused,
        SDPA: "the reference; follows is_causal",
        FLEX: "follows is_causal",
    }
    assert table[TRAIN].error == NEEDS_MASK
    assert table[TRAIN].max_difference is None
    assert table.reference == SDPA
    # The last query may see every key, so that its row alone is right.
    assert table[INFERENCE].differing == tuple((n, q) for n in range(2) for q in range(L - 1))


def test_p9_with_a_correct_mask_all_paths_are_causal() -> None:
    table = compare_paths(attention(), vectors(), attn_mask=CAUSAL, is_causal=True)
    assert table.same


def test_p9_with_a_mask_that_hides_nothing_the_hint_counts_only_without_weights() -> None:
    table = compare_paths(attention(), vectors(), attn_mask=CAUSAL & False, is_causal=True)
    said = {name: text.split(" this layer ")[-1] for name, text in words(table).items()}
    ignores, follows = "ignores is_causal and attends to the future", "follows is_causal"
    assert said == {
        WEIGHTS_EVAL: ignores,
        EVAL: follows,
        WEIGHTS_INFERENCE: ignores,
        INFERENCE: ignores,
        SLOW: follows,
        WEIGHTS_TRAIN: ignores,
        TRAIN: follows,
        SDPA: follows,
        FLEX: follows,
    }


def test_p9_a_hint_beside_another_mask_replaces_it_without_weights() -> None:
    hidden = torch.ones(L, L, dtype=torch.bool).tril(-2)
    table = compare_paths(attention(), vectors(), attn_mask=hidden, is_causal=True)
    expected = "in train with need_weights=False this layer follows is_causal and ignores attn_mask"
    assert table[TRAIN].words == expected
    assert table[SDPA].words == "follows is_causal"


def test_the_notes_say_which_path_is_shown_and_which_a_stack_takes() -> None:
    for layer, shown in ((attention(), WEIGHTS_EVAL), (attention().train(), WEIGHTS_TRAIN)):
        assert compare_paths(layer, vectors()).notes == (
            f"Compared with: {WEIGHTS_EVAL}.",
            f"The heatmap shows: {shown}.",
            f"nn.TransformerEncoderLayer takes: {TRAIN}; in eval mode without gradients: {INFERENCE}.",
        )


def test_the_table_prints_in_columns() -> None:
    lines = str(compare_paths(attention(), vectors(), is_causal=True)).splitlines()
    assert lines[0].split() == ["path", "kernel", "max", "|Δ|", "NaN", "rows", "in", "words"]
    assert lines[1].endswith(f"-        -         refuses: {NEEDS_MASK}")
    assert {line.find("refuses") for line in lines if "refuses" in line} == {lines[0].find("in words")}
    assert len(lines) == 1 + len(MODULE_PATHS) + 2 + 1 + 3


def test_dropout_is_named_where_it_makes_the_numbers_random() -> None:
    table = compare_paths(attention(dropout=0.5), vectors())
    expected = "dropout is active, so that its numbers are random"
    assert {name for name, text in words(table).items() if text == expected} == {WEIGHTS_TRAIN, TRAIN}
    assert str(table) == str(compare_paths(attention(dropout=0.5), vectors()))


def test_a_layer_that_the_fast_path_does_not_take_has_none() -> None:
    table = compare_paths(attention(add_zero_attn=True), vectors())
    assert "fast path" not in {row.kernel for row in table.rows}


def test_a_wrong_shape_is_refused_in_every_row_and_not_raised() -> None:
    table = compare_paths(attention(), vectors(), attn_mask=torch.zeros(3, 4, dtype=torch.bool), is_causal=False)
    refused = "RuntimeError: The shape of the 2D attn_mask is torch.Size([3, 4]), but should be (5, 5)."
    assert table[WEIGHTS_EVAL].error == refused
    assert table[SDPA].error.startswith("RuntimeError: The size of tensor")
    assert not table.same


def test_inputs_that_no_path_takes_leave_a_table_without_a_reference() -> None:
    table = compare_paths(attention(), torch.randn(2, L, E + 1))
    assert all(row.error for row in table.rows)
    assert table.notes[0] == "No path took these inputs."


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("more", [{}, {"is_causal": True}, {"attn_mask": torch.zeros(1, 2)}], ids=str)
def test_switches_modes_parameters_and_random_numbers_are_left_as_they_were(
    enabled: bool, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = attention(dropout=0.1).train().requires_grad_(False)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", enabled)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with torch.no_grad():
        compare_paths(layer, vectors(), **more)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.rand(1), expected)
    assert torch.backends.mha.get_fastpath_enabled() is enabled
    assert layer.training
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_the_fast_path_is_put_back_after_an_error() -> None:
    found = []

    def fail() -> None:
        with paths.fast_path_off():
            found.append(torch.backends.mha.get_fastpath_enabled())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert found == [False]
    assert torch.backends.mha.get_fastpath_enabled()


def test_tables_made_in_many_threads_are_those_made_alone() -> None:
    alone = str(compare_paths(attention(), vectors(), is_causal=True))
    found: list[str] = []

    def work() -> None:
        found.append(str(compare_paths(layer, vectors(), is_causal=True)))

    layer = attention()
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [alone] * 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: compare_paths(nn.Linear(2, 2), vectors()),
            "The target must be a Scenario or an nn.MultiheadAttention, not Linear.",
        ),
        (
            lambda: compare_paths(attention()),
            "query must be a tensor [N, L, E], [L, N, E] or [L, E], not NoneType.",
        ),
        (
            lambda: compare_paths(attention(), torch.zeros(3)),
            "query must be a tensor [N, L, E], [L, N, E] or [L, E], not [3].",
        ),
        (
            lambda: compare_paths(Scenario(), is_causal=True),
            "A Scenario brings its own inputs and masks, so compare_paths takes none with it.",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(call: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message
