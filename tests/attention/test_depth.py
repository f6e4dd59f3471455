"""What is said of several layers together, against loops over single numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

import mha_viz as mv
from mha_viz.attention import depth
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.scenario import Scenario

ENCODER = Scenario(stack="encoder", num_layers=3, text="one two three four\nfive six", mask="full")
BOTH = Scenario(stack="encoder-decoder", num_layers=2, text="one two three", key_text="a b c d")


def record(name: str, weights: Tensor, **more: object) -> LayerAttention:
    return LayerAttention(name, weights, None, None, 0.0, None, None, **more)  # type: ignore[arg-type]


def run_of(*records: LayerAttention, norms: tuple[tuple[str, Tensor], ...] = ()) -> Run:
    return Run(records, None, None, "cpu", "float32", None, norms=norms)


def weights(length: int, heads: int = 2, seed: int = 0, keys: int | None = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, heads, length, keys or length, generator=generator).softmax(-1)


def rolled(run: Run, layers: tuple[int, ...], item: int) -> list[np.ndarray]:
    """Abnar and Zuidema's recursion with loops: A~(l) = A(l) A~(l - 1)."""
    found: list[np.ndarray] = []
    for index in layers:
        own = run.layers[index].weights[item].double().mean(0).numpy()
        length = len(own)
        mixed = np.zeros((length, length))
        for i in range(length):
            row = [0.5 * own[i, j] + 0.5 * (i == j) for j in range(length)]
            mixed[i] = np.array(row) / sum(row)
        if found:
            before = found[-1]
            product = np.zeros_like(mixed)
            for i in range(length):
                for j in range(length):
                    product[i, j] = sum(mixed[i, k] * before[k, j] for k in range(length))
            mixed = product
        found.append(mixed)
    return found


@pytest.mark.parametrize("item", [0, 1])
def test_rollout_is_the_product_of_the_papers_recursion(item: int) -> None:
    run = mv.run(ENCODER)
    found = depth.rollout(run, item)
    assert found.shape == (3, 4, 4)
    np.testing.assert_allclose(found.numpy(), rolled(run, (0, 1, 2), item), atol=1e-6)
    torch.testing.assert_close(found.sum(-1), torch.ones(3, 4))
    for layer in range(3):
        assert torch.equal(depth.rollout_at(run, layer, item), found[layer])


def test_a_rollout_through_causal_layers_is_causal() -> None:
    found = depth.rollout(mv.run(replace(ENCODER, mask="causal", text="one two three four")))
    assert torch.equal(found > 0, (torch.ones(4, 4).tril() > 0).expand(3, 4, 4))


def test_dropout_and_other_rows_that_do_not_sum_to_one_are_normalised() -> None:
    run = mv.run(replace(ENCODER, training=True, dropout=0.3))
    np.testing.assert_allclose(depth.rollout(run, 0).numpy(), rolled(run, (0, 1, 2), 0), atol=1e-6)
    torch.testing.assert_close(depth.rollout(run).sum(-1), torch.ones(3, 4))


def test_chains_are_the_self_attention_of_each_half() -> None:
    run = mv.run(BOTH)
    assert depth.chains(run) == (
        depth.Chain("encoder self-attention", (0, 1)),
        depth.Chain("decoder self-attention", (2, 4)),
    )
    assert depth.rollout(run, chain=0).shape == (2, 4, 4)
    np.testing.assert_allclose(depth.rollout(run, chain=1).numpy(), rolled(run, (2, 4), 0), atol=1e-6)
    assert torch.equal(depth.rollout_at(run, 4), depth.rollout(run, chain=1)[1])


def test_chains_of_a_run_without_its_inputs_are_told_by_names_and_tokens() -> None:
    run = mv.run(replace(BOTH, key_text="a b c"))
    bare = replace(run, inputs=None, layers=tuple(replace(layer, call=None) for layer in run.layers))
    assert depth.chains(bare) == depth.chains(run)
    unnamed = tuple(replace(layer, name=f"attention{i}") for i, layer in enumerate(bare.layers))
    assert [len(chain.layers) for chain in depth.chains(replace(bare, layers=unnamed))] == [4]  # of equal length


def test_calls_of_one_shared_module_are_one_chain_and_other_lengths_another() -> None:
    run = run_of(
        record("block.attn", weights(4)),
        record("block.attn (call 2)", weights(4, seed=1)),
        record("block.attn (call 3)", weights(5)),
        record("block.cross_attn", weights(4)),
        record("extra", weights(4, keys=5), extra_keys=("bias_k",)),
    )
    assert [chain.layers for chain in depth.chains(run)] == [(0, 1), (2,)]


def test_nan_spreads_to_the_rows_that_attend_to_it_and_no_further() -> None:
    causal = torch.ones(4, 4).tril()
    plain = (causal / causal.sum(-1, keepdim=True)).expand(1, 1, 4, 4)
    broken = plain.clone()
    broken[..., 2, :] = torch.nan
    found = depth.rollout(run_of(record("layers.0.attn", broken), record("layers.1.attn", plain)))
    assert found[0].isnan().any(-1).tolist() == [False, False, True, False]
    assert found[1].isnan().any(-1).tolist() == [False, False, True, True]
    assert found[1, :2].sum(-1).tolist() == pytest.approx([1.0, 1.0])
    later = depth.rollout(run_of(record("layers.0.attn", plain), record("layers.1.attn", broken)))
    assert later[1].isnan().any(-1).tolist() == [False, False, True, False]


def test_what_has_no_rollout_is_said() -> None:
    run = mv.run(BOTH)
    with pytest.raises(
        mv.ScenarioError,
        match=r"^A rollout goes through self-attention alone, but decoder\.layers\.0\.multihead_attn attends to other "
        r"tokens: choose another layer\.$",
    ):
        depth.rollout_at(run, 3)
    with pytest.raises(mv.ScenarioError, match=r"^chain must be from 0 to 1, not 2\.$"):
        depth.rollout(run, chain=2)
    with pytest.raises(mv.ScenarioError, match=r"^A rollout needs layers of self-attention, but this run has none\.$"):
        depth.rollout(mv.run(Scenario(source="normal", query_len=3, key_len=4, mask="full")))
    with pytest.raises(mv.ScenarioError, match=r"^item must be from 0 to 0, not 1\.$"):
        depth.rollout(run, item=1)


def test_entropy_agrees_with_loops() -> None:
    run = mv.run(BOTH)
    found = depth.entropy(run)
    assert found.shape == (6, 4)
    for layer, record in enumerate(run.layers):
        for head in range(4):
            rows = record.weights[0, head].tolist()
            bits = [-sum(w * math.log2(w) for w in row if w > 0) for row in rows]
            assert float(found[layer, head]) == pytest.approx(sum(bits) / len(bits), abs=1e-5)


def test_entropy_is_nan_where_there_is_no_head_or_no_number() -> None:
    broken = weights(3)
    broken[:, 1] = torch.nan
    found = depth.entropy(run_of(record("a", broken), record("b", weights(3, heads=3))))
    assert found.isnan().tolist() == [[False, True, True], [False, False, False]]


def jsd(p: list[float], q: list[float]) -> float:
    def bits(row: list[float]) -> float:
        return -sum(w * math.log2(w) for w in row if w > 0)

    return bits([(a + b) / 2 for a, b in zip(p, q, strict=True)]) - (bits(p) + bits(q)) / 2


def test_similarity_agrees_with_loops_over_pairs_of_heads() -> None:
    run = mv.run(BOTH)
    found = depth.head_similarity(run, layer=3)
    assert found.heads == tuple((layer, head) for layer in (3, 5) for head in range(4))
    for a, (one, h) in enumerate(found.heads):
        for b, (other, g) in enumerate(found.heads):
            pairs = zip(run.layers[one].weights[0, h].tolist(), run.layers[other].weights[0, g].tolist(), strict=True)
            expected = 1 - sum(jsd(p, q) for p, q in pairs) / 3
            assert float(found.values[a, b]) == pytest.approx(expected, abs=1e-5)


def test_similarity_is_one_for_equal_heads_and_zero_for_heads_that_share_no_key() -> None:
    left, right = torch.tensor([[1.0, 0], [1, 0]]), torch.tensor([[0.0, 1], [0, 1]])
    heads = torch.stack([left, right, left, torch.full((2, 2), torch.nan)])[None]
    found = depth.head_similarity(run_of(record("a", heads))).values
    assert found[:3, :3].tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert found[3].isnan().all()
    assert found[:, 3].isnan().all()


def test_similarity_does_not_mind_dropouts_scale() -> None:
    one = weights(4, heads=1)
    found = depth.head_similarity(run_of(record("a", torch.cat([one, 2.5 * one], dim=1))))
    torch.testing.assert_close(found.values, torch.ones(2, 2))


def test_of_many_cells_evenly_spaced_queries_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(record("a", weights(6, heads=3)))
    monkeypatch.setattr(depth, "COMPARED", 3 * 3 * 6 * 6 // 2)
    found = depth.head_similarity(run).values
    every_other = run_of(record("a", run.layers[0].weights[:, :, ::2]))
    monkeypatch.setattr(depth, "COMPARED", 2**20)
    assert torch.equal(found, depth.head_similarity(every_other).values)


def test_norms_are_those_of_the_tokens_of_one_item() -> None:
    run = mv.run(replace(ENCODER, norm_first=True))
    found = depth.norms(run, 1)
    assert found.names == ("layers.0 input", "layers.0", "layers.1", "layers.2")
    for place, (_, values) in enumerate(run.norms):
        tokens = values[1].tolist()
        expected = (sum(tokens) / len(tokens), min(tokens), max(tokens))
        assert [float(part[place]) for part in (found.mean, found.low, found.high)] == pytest.approx(expected, rel=1e-5)
    assert (found.mean.diff() > 0).all()  # pre-norm: the stream is never normalised


def test_norms_that_were_not_read_are_missed_in_a_sentence() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^Norms are read where layers of nn\.Transformer\* run, but this run"):
        depth.norms(mv.run(Scenario()))
    with pytest.raises(mv.ScenarioError, match=r"^item must be from 0 to 1, not 2\.$"):
        depth.norms(mv.run(ENCODER), 2)
