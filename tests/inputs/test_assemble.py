"""From a Scenario to tensors and labels."""

from __future__ import annotations

from typing import Any

import cachetools
import pytest
import torch

import mha_viz as mv
from mha_viz import settings
from mha_viz.inputs import store
from mha_viz.inputs.assemble import PAD, Inputs, Sizes, build, sizes
from mha_viz.inputs.synthetic import SOURCES, sinusoidal
from mha_viz.inputs.text import embed
from mha_viz.inputs.upload import Upload
from mha_viz.scenario import PATTERNED, Scenario

SCENARIOS = [
    Scenario(),
    Scenario(text="one two three\nfour five\nsix"),
    Scenario(text="one two", query_len=5, batch_size=3),
    Scenario(text="one two three", key_text="un deux\ntrois", batch_size=2),
    Scenario(text="one two three", key_len=7, kdim=8, vdim=6),
    Scenario(source="table", table="1 2\n3 4\n5 6", embed_dim=2, num_heads=1, query_len=5),
    Scenario(source="table", table="1 2", key_table="a 3 4\nb 5 6", embed_dim=2, num_heads=1, batch_size=2),
    *[Scenario(source=name, query_len=5) for name in SOURCES],
    *[Scenario(source=name, query_len=5, key_len=3, batch_size=2, kdim=10) for name in SOURCES],
]


def test_the_sources_of_a_scenario_are_the_registry() -> None:
    assert tuple(SOURCES) == PATTERNED
    assert settings.metadata(Scenario)["source"].choices == ("text", *SOURCES, "table", "upload")


@pytest.mark.parametrize("s", SCENARIOS, ids=lambda s: s.to_query())
def test_tensors_and_labels_have_the_sizes_that_were_announced(s: Scenario) -> None:
    size, made = sizes(s), build(s)
    assert made.query.shape == (size.batch_size, size.query_len, s.embed_dim)
    assert made.key.shape == (size.batch_size, size.key_len, s.kdim or s.embed_dim)
    assert made.value.shape == (size.batch_size, size.key_len, s.vdim or s.embed_dim)
    assert [len(item) for item in made.query_tokens] == [size.query_len] * size.batch_size
    assert [len(item) for item in made.key_tokens] == [size.key_len] * size.batch_size
    assert (made.key is made.query) is not s.cross_attention
    assert all(t.dtype == torch.float32 for t in (made.query, made.key, made.value))


def test_text_vectors_are_embeddings_plus_positions() -> None:
    made = build(Scenario(text="the cat the"))
    rows = embed(["the", "cat", "the"], 64, 0)
    assert torch.equal(made.query[0], rows + sinusoidal(3, 64))
    bare = build(Scenario(text="the cat the", positions=False)).query[0]
    assert torch.equal(bare, rows)
    assert torch.equal(bare[0], bare[2])


def test_each_line_is_a_batch_item_and_short_lines_are_padded() -> None:
    made = build(Scenario(text="one two three\n\nfour"))
    assert made.query_tokens == (("one", "two", "three"), ("four", PAD, PAD))
    assert made.key_lengths == (3, 1)
    assert build(Scenario(text="one two\nthree four")).key_lengths is None
    assert build(Scenario(text="one two three\nfour", padding="none")).key_lengths is None


def test_a_text_is_cut_or_repeated_to_the_length_asked_for() -> None:
    tokens = build(Scenario(text="a b c", query_len=5)).query_tokens[0]
    assert tokens == ("a", "b", "c", "a", "b")
    assert build(Scenario(text="a b c", query_len=2)).query_tokens[0] == ("a", "b")


def test_cross_attention_has_its_own_key_text() -> None:
    made = build(Scenario(text="one two", key_text="un deux trois"))
    assert made.key_tokens == (("un", "deux", "trois"),)
    assert made.value is made.key


def test_padding_that_does_not_fit_the_batch_is_refused() -> None:
    for padding, said in (("3, 2", "1 length "), ("12", "from 0 to 11"), ("3, 2, 1", "1 length ")):
        with pytest.raises(
            mv.ScenarioError, match=r"^padding must give 1 length \(one for each batch item\)"
        ) as caught:
            build(Scenario(padding=padding))
        assert said in str(caught.value)
    with pytest.raises(mv.ScenarioError, match=r"^padding must give 2 lengths .* from 0 to 5, not '6, 1'\.$"):
        build(Scenario(source="normal", query_len=5, batch_size=2, padding="6, 1"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"text": "  "}, r"^text must hold at least one word, but it is empty: type a sentence\.$"),
        (
            {"source": "table"},
            r"^table must hold numbers for the query, one token a line, but it is empty: type or paste",
        ),
        ({"source": "upload"}, r"^query_file must be an uploaded file, but none is given: upload one\.$"),
        (
            {"source": "upload", "query_file": "abc x.npy"},
            r"^The file 'x.npy' is not on this server any more: upload it",
        ),
        (
            {"source": "table", "table": "1 2 3"},
            r"^query has vectors of size 3, but the layer expects 64: set embed_dim=3 or give 64 numbers a token\.$",
        ),
        (
            {"source": "table", "table": "1 2", "key_table": "1 2 3", "embed_dim": 2, "num_heads": 1},
            r"^key has vectors of size 3, but the layer expects 2: set kdim=3",
        ),
    ],
)
def test_inputs_that_cannot_be_read_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(mv.InputError, match=said):
        build(Scenario(**values))


def upload(name: str, **tensors: torch.Tensor) -> Upload:
    return Upload(
        name=name, digest=name.encode().hex().ljust(64, "0"), tensors=tensors, dtypes=dict.fromkeys(tensors, "float32")
    )


def test_files_give_query_key_and_value() -> None:
    query, key = torch.randn(4, 6), torch.randn(2, 5, 6)
    one, two = store.put(upload("one.npy", **{"": query})), store.put(upload("two.npz", key=key, value=key + 1))
    s = Scenario(source="upload", query_file=one, key_file=two, value_file=two, embed_dim=6, num_heads=2, batch_size=2)
    made = build(s)
    assert torch.equal(made.query, query.expand(2, 4, 6))
    assert torch.equal(made.key, key)
    assert torch.equal(made.value, key + 1)
    assert made.query_tokens[0] == ("0", "1", "2", "3")


def test_the_store_forgets_the_oldest_when_its_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_uploads", cachetools.LRUCache(100, getsizeof=store._size))
    first, second = store.put(upload("a.npy", x=torch.zeros(20))), store.put(upload("b.npy", x=torch.zeros(20)))
    assert store.get(second).name == "b.npy"
    with pytest.raises(mv.InputError, match=r"^The file 'a\.npy' is not on this server any more"):
        store.get(first)


def test_tensors_of_ones_own_keep_their_identity() -> None:
    x = torch.randn(3, 4)
    made = Inputs.of(x)
    assert made.query is made.key is made.value
    assert made.query.shape == (1, 3, 4)
    with pytest.raises(
        mv.InputError, match=r"^query must be \[length, size\] or \[batch, length, size\] .* not \[4\]\.$"
    ):
        Inputs.of(x[0])


def test_unbatched_input_is_one_item_whatever_the_text() -> None:
    assert sizes(Scenario(text="a b\nc d", unbatched=True)) == Sizes(1, 2, 2)
