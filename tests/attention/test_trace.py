"""The steps inside a layer, against the module itself over the grid of test_layer, and against single torch calls."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention.forward import run_given
from mha_viz.attention.layer import module
from mha_viz.attention.moved import Moved, moved
from mha_viz.attention.records import Call, LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.stages import STEPS
from mha_viz.attention.trace import check, trace
from mha_viz.inputs.assemble import build
from mha_viz.scenario import Scenario
from tests.attention import oracle
from tests.attention.test_layer import GRID, padded, scenario

LIMIT = 1e-6


@pytest.mark.parametrize("values", GRID)
@pytest.mark.parametrize("padding", [False, True], ids=["", "padded"])
def test_the_trace_agrees_with_the_module_over_the_whole_grid(values: dict[str, Any], padding: bool) -> None:
    s = padded(scenario(**values)) if padding else scenario(**values)
    found = trace(s)
    assert found.weights_change <= LIMIT
    assert found.output_change <= LIMIT
    np.testing.assert_allclose(found["softmax"].numpy(), oracle.weights(s, module(s), build(s)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("need_weights", [True, False])
def test_unbatched_padding_is_handed_on_as_torch_wants_it(need_weights: bool) -> None:
    found = trace(Scenario(text="a b c", padding="2", unbatched=True, need_weights=need_weights, embed_dim=8))
    assert max(found.weights_change, found.output_change) <= LIMIT


@pytest.mark.parametrize("values", GRID[::5])
def test_the_draw_of_dropout_is_the_modules(values: dict[str, Any]) -> None:
    s = scenario(**values, dropout=0.4, training=True, seed=5)
    found = trace(s)
    assert found.weights_change <= LIMIT
    assert found.output_change <= LIMIT
    assert not torch.equal(found["weights"].nan_to_num(), found["softmax"].nan_to_num())


@pytest.mark.parametrize("p", [0.5, 1.0])
def test_dropout_of_half_and_of_everything_is_followed(p: float) -> None:
    found = trace(scenario(query_len=6, dropout=p, training=True))
    assert (found.weights_change, found.output_change) == (0.0, 0.0)


@pytest.mark.parametrize("score_bias", ["", "alibi"])
@pytest.mark.parametrize("mask", ["full", "causal"])
@pytest.mark.parametrize("heads", [4, 8])
def test_long_rows_with_large_scores_stay_within_the_limit(score_bias: str, mask: str, heads: int) -> None:
    """Scaling the product instead of q gives differences of 4e-6 here."""
    about = {"source": "normal", "embed_dim": 512, "num_heads": heads, "query_len": 128, "qk_scale": 10.0}
    found = trace(Scenario(**about, mask=mask, score_bias=score_bias))
    assert found.weights_change <= LIMIT
    assert found.output_change <= LIMIT


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda e: e.name)
def test_every_example_can_be_traced(example: gallery.Example) -> None:
    found = trace(example.scenario)
    assert found.weights_change <= LIMIT
    assert found.output_change <= LIMIT


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-14), ("bfloat16", 0.01), ("float16", 1e-3)])
@pytest.mark.parametrize("score_bias", ["", "alibi"])
def test_other_number_formats_agree_to_their_rounding(dtype: str, limit: float, score_bias: str) -> None:
    s = scenario(query_len=6, mask="causal", dtype=dtype, score_bias=score_bias, batch_size=2)
    found = trace(s)
    assert found["scores"].dtype == getattr(torch, dtype)
    assert found.weights_change <= limit
    assert found.output_change <= limit


def test_each_stage_is_what_its_formula_says() -> None:
    s = scenario(query_len=5, key_len=7, batch_size=2, mask="causal", add_bias_kv=True, add_zero_attn=True)
    found, layer, inputs = trace(s), module(s), build(s)
    assert [stage.name for stage in found.stages] == list(STEPS)
    wq, wk, _ = layer.in_proj_weight.detach().chunk(3)
    bq, bk, _ = layer.in_proj_bias.detach().chunk(3)
    near = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(found["q"], inputs.query @ wq.T + bq, **near)
    torch.testing.assert_close(found["k"][:, :7], inputs.key @ wk.T + bk, **near)
    assert torch.equal(found["k"][1, 7], layer.bias_k[0, 0].detach())
    assert found["k"][:, 8].eq(0).all()
    assert torch.equal(found["q_heads"][1, 2], found["q"][1, :, 8:12])
    torch.testing.assert_close(found["scores"], found["q_heads"] @ found["k_heads"].transpose(2, 3), **near)
    torch.testing.assert_close(found["scaled"], found["scores"] / 2, **near)
    hidden = ~mv.run(s).layers[0].allowed.expand(2, 4, 5, 9)
    assert found["masked"][hidden].eq(-math.inf).all()
    assert torch.equal(found["masked"][~hidden], found["scaled"][~hidden])
    torch.testing.assert_close(found["softmax"].sum(-1), torch.ones(2, 4, 5))
    torch.testing.assert_close(found["heads"], found["weights"] @ found["v_heads"], **near)
    assert torch.equal(found["concatenated"][:, :, 4:8], found["heads"][:, 1])
    torch.testing.assert_close(found["output"], nn.functional.linear(found["concatenated"], *_output(layer)), **near)


def _output(layer: nn.MultiheadAttention) -> tuple[torch.Tensor, torch.Tensor]:
    return layer.out_proj.weight.detach(), layer.out_proj.bias.detach()


def test_stages_name_their_axes_and_carry_a_formula() -> None:
    found = trace(scenario(query_len=5, key_len=7, kdim=12, vdim=20, add_zero_attn=True, batch_size=2))
    sizes = {"N": 2, "H": 4, "L": 5, "E": 16, "D": 4, "kdim": 12, "vdim": 20}
    for stage in found.stages:
        keys = 7 if stage.name in ("key", "value") else 8
        assert stage.shape == tuple({**sizes, "S": keys}[axis] for axis in stage.axes)
        assert stage.formula.count("{") == stage.formula.count("}")
    assert found.stage("q").formula == r"Q = X_q W_q^\top + b_q"
    assert found.stage("k").formula == r"K = \begin{bmatrix} X_k W_k^\top + b_k \\ 0 \end{bmatrix}"
    assert trace(scenario(bias=False)).stage("q").formula == r"Q = X_q W_q^\top"
    assert trace(scenario()).stage("value").formula == "X_v = X_q"


def test_a_row_without_a_key_is_nan_in_both() -> None:
    found = trace(scenario(query_len=5, mask="k < q"))
    assert found["weights"][0, :, 0].isnan().all()
    assert (found.weights_change, found.output_change) == (0.0, 0.0)


def test_nan_on_one_side_alone_is_an_infinite_difference() -> None:
    run = mv.run(scenario(query_len=4))
    weights = run.layers[0].weights.clone()
    weights[0, 0, 0, 0] = math.nan
    assert trace(replace(run, layers=(replace(run.layers[0], weights=weights),))).weights_change == math.inf


def test_a_difference_to_the_recorded_weights_is_told() -> None:
    run = mv.run(scenario(query_len=4))
    layer = replace(run.layers[0], weights=run.layers[0].weights + 0.25)
    assert trace(replace(run, layers=(layer,))).weights_change == pytest.approx(0.25)


def test_the_output_is_compared_with_that_of_the_call_for_weights() -> None:
    s = scenario(query_len=6, dropout=0.5, training=True, need_weights=False)
    found = trace(mv.run(s))
    assert (found.weights_change, found.output_change) == (0.0, 0.0)


def test_masks_given_raw_are_those_of_the_trace() -> None:
    inverted = torch.ones(5, 5, dtype=torch.bool).tril()
    found = trace(run_given(scenario(query_len=5, mask="causal"), inverted))
    assert found["masked"][0, 0].eq(-math.inf).equal(inverted)
    assert found.weights_change == 0.0


def captured(*, dropout: float = 0.0, **changes: Any) -> Run:
    """A run as a capture records it: the layer after others have drawn random numbers, its inputs kept."""
    torch.manual_seed(0)
    layer, x, memory = nn.MultiheadAttention(12, 3, dropout=dropout, batch_first=True), *torch.randn(2, 2, 5, 12)
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.rand(7)
    output, weights = layer(x, memory, memory, attn_mask=hidden, average_attn_weights=False)
    call = Call(layer, x, memory, memory)
    about = {"dropout": dropout, "call": call, **changes}
    record = LayerAttention("a", weights.detach(), output.detach(), None, 0.0, hidden, None, **about)
    return Run((record,), None, None, "cpu", "float32", None)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_captured_layer_is_traced_its_dropout_read_off_the_weights(dropout: float) -> None:
    found = trace(captured(dropout=dropout))
    assert found.weights_change <= LIMIT
    assert found.output_change <= LIMIT
    assert found.stage("key").formula == "X_k"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("stack", ["encoder", "decoder", "encoder-decoder"])
def test_every_layer_of_a_stack_can_be_traced(stack: str, training: bool) -> None:
    s = scenario(query_len=5, batch_size=2, mask="causal", stack=stack, num_layers=2, dropout=0.2, training=training)
    run = mv.run(s)
    for layer in range(len(run.layers)):
        found = trace(run, layer=layer)
        assert found.weights_change <= LIMIT
        assert found.output_change <= LIMIT
    assert torch.equal(trace(s, layer=1)["output"], trace(run, layer=1)["output"])


def test_of_a_capture_the_recorded_batch_items_alone_are_traced() -> None:
    run = captured()
    record = run.layers[0]
    second = replace(record, weights=record.weights[1:], output=record.output[1:], items=(1,))
    found = trace(replace(run, layers=(second,)))
    assert found["weights"].shape == (1, 3, 5, 5)
    assert found.weights_change <= LIMIT
    assert found["key"] is found["value"]


@pytest.mark.parametrize(
    ("run", "layer", "said"),
    [
        (
            captured(call=None),
            0,
            "layer 0 can't be traced: what went into it was not kept, capture it with inside=True.",
        ),
        (captured(), 3, "layer must be from 0 to 0, not 3."),
        (captured(), -1, "layer must be from 0 to 0, not -1."),
    ],
)
def test_what_cannot_be_traced_is_said(run: Run, layer: int, said: str) -> None:
    with pytest.raises(mv.ScenarioError) as refused:
        trace(run, layer=layer)
    assert str(refused.value) == said


def test_a_layer_of_which_heads_are_missing_cannot_be_traced() -> None:
    run = captured()
    some = replace(run.layers[0], weights=run.layers[0].weights[:, :2], heads=(0, 1))
    with pytest.raises(
        mv.ScenarioError, match=r"^layer 0 can't be traced: all 3 heads must be kept for that, not 2\.$"
    ):
        trace(replace(run, layers=(some,)))


def test_an_unknown_stage_is_refused() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^stage must be one of query, key, .*, output, not 'logits'\.$"):
        trace(scenario(query_len=2))["logits"]


def test_a_trace_that_would_not_fit_is_refused_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "1")
    s = scenario(query_len=128)
    mv.run(s)
    with pytest.raises(
        mv.CapacityError, match=r"^A trace of weights \[1, 4, 128, 128\] would need about 1\.57 MB, more than the limit"
    ):
        trace(s)
    check((1, 4, 64, 64), 4)


def test_tracing_leaves_the_module_and_random_numbers_alone() -> None:
    s = scenario(query_len=4, dropout=0.5, training=True)
    before = mv.run(s).layers[0].weights
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trace(s, edits="q_weight[0, 0] = 9; query[0, 0, 0] = 9; mask[*, *, 0, 0] = hide")
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(mv.run(s).layers[0].weights, before)


def test_what_moves_is_told_stage_by_stage() -> None:
    before = trace(scenario(query_len=4))
    still = moved(before, before)
    assert all(stage == Moved(stage.name, 0.0, 0, stage.size, None) for stage in still)
    found = {stage.name: stage for stage in moved(before, before.edited("k_weight[5, 3] = 4"))}
    assert found["key"].where is None
    assert found["k"].count == 4
    assert found["k"].where == tuple(
        int(i) for i in torch.unravel_index((_keys_after(before) - before["k"]).abs().argmax(), before["k"].shape)
    )
    assert {stage.name for stage in found.values() if stage.count and "H" in before.stage(stage.name).axes} == {
        *("k_heads", "scores", "scaled", "masked", "softmax", "weights", "heads")
    }
    assert found["weights"].where[1] == 1  # row 5 of the projection belongs to head 1


def _keys_after(before: Any) -> torch.Tensor:
    """The keys when weight [5, 3] is 4, by one changed product."""
    x, weight = before["key"], module(scenario(query_len=4)).in_proj_weight[16 + 5, 3].item()
    k = before["k"].clone()
    k[:, :, 5] += x[:, :, 3] * (4 - weight)
    return k


def test_a_row_that_becomes_nan_moves_by_infinity() -> None:
    before = trace(scenario(query_len=3))
    hidden = "; ".join(f"mask[0, 1, 2, {key}] = hide" for key in range(3))
    found = {stage.name: stage for stage in moved(before, before.edited(hidden))}
    assert found["softmax"] == Moved("softmax", math.inf, 3, 36, (0, 1, 2, 0))
    assert found["output"].count == 16
    again = before.edited(hidden)
    assert all(stage.count == 0 for stage in moved(again, again))


def test_traces_of_different_shapes_are_not_compared() -> None:
    with pytest.raises(mv.ScenarioError, match=r"but query has \[1, 3, 16\] and \[1, 4, 16\]\.$"):
        moved(trace(scenario(query_len=3)), trace(scenario(query_len=4)))


def test_with_edits_the_proof_is_that_of_the_steps_without() -> None:
    plain, changed = trace(scenario(query_len=4)), trace(scenario(query_len=4), edits="temperature = 0.5")
    assert (changed.weights_change, changed.output_change) == (plain.weights_change, plain.output_change)
    assert str(changed.edits) == "temperature = 0.5"
    assert torch.equal(changed.edited("")["output"], plain["output"])
