"""What a forward needs: the estimate against a count of every tensor, and the refusal before allocating."""

from __future__ import annotations

import tracemalloc

import pytest

import mha_viz as mv
from mha_viz.attention import memory, peak, stack
from mha_viz.inputs.assemble import Sizes, build, sizes
from mha_viz.scenario import Scenario

LARGE = {"source": "normal", "query_len": 512, "num_heads": 8, "embed_dim": 64}


@pytest.mark.parametrize(
    "more",
    [
        {"mask": "full"},
        {"mask": "causal"},
        {"mask": "full", "padding": [500]},
        {"mask": "causal", "padding": [500]},
        {"mask": "causal | (h > 0)"},
        {"mask": "full", "dtype": "float64"},
        {"mask": "full", "dtype": "bfloat16"},
        {"mask": "causal", "training": True, "dropout": 0.1},
        {"mask": "full", "key_len": 300, "add_bias_kv": True},
        {"mask": "full", "batch_size": 3, "score_bias": "alibi"},
    ],
    ids=str,
)
def test_the_estimate_is_no_less_than_the_count_and_not_much_more(more: dict[str, object]) -> None:
    s = Scenario(**{**LARGE, **more})
    counted = peak.peak_bytes(s, sizes(s))
    assert counted <= memory.estimate(s, sizes(s)) <= 2.5 * counted


STACK = {"source": "normal", "query_len": 160, "num_heads": 8, "embed_dim": 32, "num_layers": 3, "stack": "encoder"}


@pytest.mark.parametrize(
    "more",
    [
        {"mask": "full"},
        {"mask": "causal | (h > 0)"},
        {"mask": "causal", "training": True, "dropout": 0.1},
        {"mask": "causal", "dtype": "float64", "padding": [150]},
        {"mask": "full", "query_len": 32, "embed_dim": 256, "norm_first": True, "activation": "gelu"},
        {"stack": "decoder", "key_len": 120, "memory_mask": "window(9) | (h > 1)"},
        {"stack": "encoder-decoder", "key_len": 240},
        {
            "stack": "encoder-decoder",
            "query_len": 24,
            "key_len": 160,
            "batch_size": 3,
            "training": True,
            "dropout": 0.1,
        },
    ],
    ids=str,
)
def test_the_estimate_of_a_stack_is_no_less_than_what_its_run_holds_and_not_much_more(more: dict[str, object]) -> None:
    s = Scenario(**{**STACK, **more})
    inputs = build(s)
    with peak._Ledger() as ledger:
        stack.run(s, inputs)
    assert ledger.peak <= memory.estimate(s, sizes(s)) <= 1.7 * ledger.peak


def test_a_stack_that_does_not_fit_is_refused_before_anything_is_allocated() -> None:
    s = Scenario(source="normal", query_len=20_000, stack="encoder-decoder", num_layers=24)
    expected = (
        r"^The encoder-decoder and the weights of its 72 attention calls in float32 would need about [\d,.]+ [GT]B, "
        r"more than the limit of 2\.15 GB: reduce query_len, num_layers, embed_dim or batch_size, or raise "
        r"MHA_VIZ_MEMORY_LIMIT_MB\.$"
    )
    with pytest.raises(mv.CapacityError, match=expected) as caught:
        mv.run(s)
    assert caught.value.field == "query_len"


def test_the_count_is_what_the_real_forward_holds() -> None:
    s = Scenario(**LARGE, mask="full")
    full = 8 * 512 * 512 * 4
    assert 2 * full <= peak.peak_bytes(s, sizes(s)) <= 2.2 * full


def test_a_run_that_does_not_fit_is_refused_before_anything_is_allocated() -> None:
    s = Scenario(source="normal", query_len=131_072, num_heads=8, training=True, dropout=0.1)
    tracemalloc.start()
    expected = (
        r"^The layer and its weights \[1, 8, 131,072, 131,072\] in float32 would need about [\d,.]+ [GT]B, more than "
        r"the limit of 2\.15 GB: reduce query_len to about [\d,]+, use fewer heads or batch items, or raise "
        r"MHA_VIZ_MEMORY_LIMIT_MB\.$"
    )
    with pytest.raises(mv.CapacityError, match=expected) as caught:
        mv.run(s)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()
    assert caught.value.field == "query_len"


def test_a_layer_that_fits_at_no_length_is_blamed_itself() -> None:
    s = Scenario(source="normal", query_len=1, embed_dim=16_384, num_heads=256)
    with pytest.raises(mv.CapacityError) as caught:
        memory.check(s, sizes(s))
    assert str(caught.value) == (
        "A layer of embed_dim 16,384 in float32 would need about 5.37 GB, more than the limit of 2.15 GB even for one "
        "token: reduce embed_dim, or raise MHA_VIZ_MEMORY_LIMIT_MB."
    )
    assert caught.value.field == "embed_dim"


def test_keys_that_are_too_many_for_any_query_are_blamed() -> None:
    s = Scenario(source="normal", query_len=2, key_len=131_072, embed_dim=8_192, num_heads=2)
    with pytest.raises(mv.CapacityError, match=r"2\.15 GB: reduce key_len, use fewer heads or batch items") as caught:
        memory.check(s, sizes(s))
    assert caught.value.field == "key_len"


@pytest.mark.parametrize(
    "s",
    [
        Scenario(source="normal", query_len=100_000, num_heads=8),
        Scenario(source="normal", query_len=20_000, embed_dim=8192, num_heads=2),
    ],
)
def test_the_length_that_the_refusal_names_does_fit(s: Scenario) -> None:
    with pytest.raises(mv.CapacityError) as caught:
        memory.check(s, sizes(s))
    length = int(str(caught.value).split("query_len to about ")[1].split(", use")[0].replace(",", ""))
    memory.check(s, Sizes(1, length, length))


def test_the_limit_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(memory.LIMIT_VARIABLE, "1")
    with pytest.raises(mv.CapacityError, match=r"more than the limit of 1\.05 MB"):
        mv.run(Scenario(source="normal", query_len=512))


@pytest.mark.parametrize(
    ("count", "text"), [(12, "12 bytes"), (1_500, "1.5 kB"), (2**20, "1.05 MB"), (4e9, "4 GB"), (3e15, "3,000 TB")]
)
def test_bytes_are_spelled_for_readers(count: float, text: str) -> None:
    assert memory.spelled(count) == text
