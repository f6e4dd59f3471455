"""Edits: their text, and what each of them does, against the layer with the change made by hand."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import mha_viz as mv
from mha_viz.attention.edits import INDICES, MAX_CHARS, Edit, Edits, form, parse
from mha_viz.attention.layer import module, shared_module
from mha_viz.attention.trace import trace
from mha_viz.inputs.assemble import build
from mha_viz.scenario import Scenario
from tests.attention.test_layer import scenario

CROSS = scenario(query_len=3, key_len=4, batch_size=2)
NEAR = {"atol": 1e-6, "rtol": 1e-5, "equal_nan": True}

indices = st.integers(0, 10**9 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)


def _statements(name: str) -> st.SearchStrategy[Edit]:
    starred = {"n", "h"} if name == "mask" else set()
    places = [st.none() | indices if place in starred else indices for place in INDICES[name]]
    positive = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)
    values = {"mask": st.booleans(), "head": st.just(True), "temperature": positive}.get(name, numbers)
    return st.builds(Edit, st.just(name), st.tuples(*places), values)


edits = st.lists(st.sampled_from(sorted(INDICES)).flatmap(_statements), max_size=6).map(tuple).map(Edits)


@given(edits)
def test_edits_print_as_a_text_that_reads_back_as_the_same(written: Edits) -> None:
    assert parse(str(written)) == written
    assert str(parse(str(written))) == str(written)


@given(st.text(alphabet="query_weightmask[]0123456789.,;*=- \nhide−e", max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    said = ""
    try:
        found = parse(text)
    except mv.ScenarioError as error:
        said = str(error)
    else:
        assert parse(str(found)) == found
    assert not said or re.fullmatch(r"edits[^\n]+\.", said)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (" ;; \n", ""),
        ("query[0,1 , 2]=1.50", "query[0, 1, 2] = 1.5"),
        ("mask[ *,0,2,1] = hide\nhead[2]=off;", "mask[*, 0, 2, 1] = hide; head[2] = off"),
        ("temperature = 2.0; out_weight[0, 1] = −.5e-3", "temperature = 2; out_weight[0, 1] = -0.0005"),
    ],
)
def test_spellings_have_one_canonical_form(text: str, canonical: str) -> None:
    found = parse(text)
    assert str(found) == canonical
    assert parse(found) is found


STATEMENTS = (
    "query, key, value, q_weight, k_weight, v_weight, out_weight, mask, head, temperature"  # as the sentence lists them
)
UNREADABLE = {
    "bias[0] = 1": f"edits must be statements such as 'head[h] = off' about one of {STATEMENTS}, not 'bias[0] = 1'.",
    "query[0, 1] = 2": "query must be written query[n, i, d] = a finite number, not 'query[0, 1] = 2'.",
    "query = 2": "query must be written query[n, i, d] = a finite number, not 'query = 2'.",
    "k_weight[0, 0] = x": "k_weight must be written k_weight[row, col] = a finite number, not 'k_weight[0, 0] = x'.",
    "value[0, 0, 0] = nan": "value must be written value[n, j, d] = a finite number, not 'value[0, 0, 0] = nan'.",
    "key[0, 0, 0] = 1e999": "key must be written key[n, j, d] = a finite number, not 'key[0, 0, 0] = 1e999'.",
    "query[0, -1, 0] = 2": "i in query[n, i, d] = a finite number must be a whole number from 0, not '-1'.",
    "mask[0, x, 1, 1] = hide": "h in mask[n, h, i, j] = hide or allow must be a whole number from 0 or *, not 'x'.",
    "mask[0, 0, *, 1] = hide": "i in mask[n, h, i, j] = hide or allow must be a whole number from 0, not '*'.",
    "mask[0, 0, 1, 1] = off": "mask must be written mask[n, h, i, j] = hide or allow, not 'mask[0, 0, 1, 1] = off'.",
    "head[0] = on": "head must be written head[h] = off, not 'head[0] = on'.",
    "temperature = 0": "temperature must be more than 0, not 0.",
    "temperature[0] = 1": "temperature must be written temperature = a finite number, not 'temperature[0] = 1'.",
    " " * (MAX_CHARS + 1): "edits must have at most 4,000 characters, not 4,001.",
}


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_cannot_be_read_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(mv.ScenarioError) as refused:
        parse(text)
    said = UNREADABLE[text]
    assert str(refused.value) == (said if said.startswith("edits") else f"edits: {said}")
    assert refused.value.field == "edits"


UNFIT = {
    "query[2, 0, 0] = 1": "query has n from 0 to 1, i from 0 to 2, d from 0 to 15",
    "key[0, 4, 0] = 1": "key has n from 0 to 1, j from 0 to 3, d from 0 to 15",
    "k_weight[0, 16] = 1": "k_weight has row from 0 to 15, col from 0 to 15",
    "mask[*, 4, 0, 0] = hide": "mask has n from 0 to 1, h from 0 to 3, i from 0 to 2, j from 0 to 3",
    "head[4] = off": "head has h from 0 to 3",
    "query[0, 0, 0] = 1e+39": "numbers of float32 end at 3.4e+38",
}


@pytest.mark.parametrize("text", UNFIT)
def test_what_does_not_fit_the_layer_is_refused(text: str) -> None:
    with pytest.raises(mv.ScenarioError) as refused:
        trace(CROSS, edits=text)
    assert str(refused.value) == f"edits: {UNFIT[text]}, but was given {text}."
    assert refused.value.field == "edits"


@pytest.mark.parametrize("name", INDICES)
def test_every_statement_can_be_written_as_its_form_says(name: str) -> None:
    place = f"[{', '.join('0' for _ in INDICES[name])}]" if INDICES[name] else ""
    for value in form(name).split(" = ")[1].replace("a finite number", "0.5").split(" or "):
        assert trace(CROSS, edits=f"{name}{place} = {value}").edits.statements[0].name == name


def test_words_for_truth_values_are_of_their_statement() -> None:
    assert str(Edit("mask", (None, 0, 1, 2), True)) == "mask[*, 0, 1, 2] = hide"
    assert str(Edit("mask", (None, 0, 1, 2), False)) == "mask[*, 0, 1, 2] = allow"
    assert str(Edit("head", (3,), True)) == "head[3] = off"


def by_hand(s: Scenario, change: Callable[[nn.MultiheadAttention, dict[str, Tensor]], None]) -> tuple[Tensor, Tensor]:
    """Return output and weights of the module itself, with the change made on copies."""
    layer, inputs = module(s), build(s)
    made = {id(x): x.clone() for x in (inputs.query, inputs.key, inputs.value)}
    call = {name: made[id(getattr(inputs, name))] for name in ("query", "key", "value")}
    with torch.no_grad():
        change(layer, call)
    output, weights = layer(**call, average_attn_weights=False)
    return output.detach(), weights.detach()


Change = Callable[[nn.MultiheadAttention, dict[str, Tensor]], None]


def _set(tensor: Tensor, index: tuple[int, ...], value: float) -> None:
    tensor[index] = value


CHANGES: dict[str, Change] = {
    "query[1, 2, 3] = 5": lambda _, call: _set(call["query"], (1, 2, 3), 5),
    "key[1, 3, 0] = -5": lambda _, call: _set(call["key"], (1, 3, 0), -5),
    "value[0, 1, 2] = 5": lambda _, call: _set(call["value"], (0, 1, 2), 5),
    "q_weight[3, 1] = 2": lambda layer, _: _set(layer.in_proj_weight, (3, 1), 2),
    "k_weight[3, 1] = 2": lambda layer, _: _set(layer.in_proj_weight, (19, 1), 2),
    "v_weight[3, 1] = 2": lambda layer, _: _set(layer.in_proj_weight, (35, 1), 2),
    "out_weight[3, 1] = 2": lambda layer, _: _set(layer.out_proj.weight, (3, 1), 2),
    "head[2] = off": lambda layer, _: layer.out_proj.weight[:, 8:12].zero_(),
    "temperature = 0.25": lambda layer, _: (layer.in_proj_weight[:16].mul_(4), layer.in_proj_bias[:16].mul_(4)),
}


@pytest.mark.parametrize("text", CHANGES)
@pytest.mark.parametrize("s", [CROSS, scenario(query_len=4, batch_size=2)], ids=["cross", "self"])
def test_an_edit_gives_what_the_module_gives_with_the_same_change(s: Scenario, text: str) -> None:
    output, weights = by_hand(s, CHANGES[text])
    found = trace(s, edits=text)
    torch.testing.assert_close(found["weights"], weights, **NEAR)
    torch.testing.assert_close(found["output"], output, **NEAR)
    assert not torch.equal(found["output"], trace(s)["output"])


def test_edits_of_separate_projections_count_in_their_own_shapes() -> None:
    s = scenario(query_len=3, key_len=4, kdim=12, vdim=20)
    output, weights = by_hand(s, lambda layer, _: _set(layer.v_proj_weight, (15, 19), 2))
    found = trace(s, edits="v_weight[15, 19] = 2")
    torch.testing.assert_close(found["output"], output, **NEAR)
    torch.testing.assert_close(found["weights"], weights, **NEAR)


def test_inputs_that_are_one_tensor_change_together() -> None:
    found = trace(scenario(query_len=4), edits="key[0, 1, 2] = 5")
    assert all(found[name][0, 1, 2] == 5 for name in ("query", "key", "value"))
    assert found["query"] is found["value"]
    crossed = trace(CROSS, edits="key[0, 1, 2] = 5")
    assert crossed["value"][0, 1, 2] == 5
    assert crossed["query"][0, 1, 2] != 5


@pytest.mark.parametrize("settings", [{"mask": "full"}, {"mask": "causal"}, {"mask": "causal | (h > 0)"}])
@pytest.mark.parametrize(("place", "items", "heads"), [("*, *", 2, 4), ("1, *", 1, 4), ("*, 2", 2, 1), ("0, 3", 1, 1)])
def test_a_mask_cell_is_hidden_or_allowed_where_it_was_said(
    settings: dict[str, str], place: str, items: int, heads: int
) -> None:
    s = scenario(query_len=4, batch_size=2, **settings)
    before = trace(s)["masked"].isinf()
    after = trace(s, edits=f"mask[{place}, 3, 1] = hide; mask[{place}, 0, 2] = allow")["masked"]
    assert int(after[:, :, 3, 1].isinf().sum()) == items * heads
    opened = before[:, :, 0, 2] & ~after[:, :, 0, 2].isinf()
    assert int(opened.sum()) <= items * heads
    indices = [slice(None) if part == "*" else int(part) for part in place.split(", ")]
    assert not after[*indices, 0, 2].isinf().any()
    others = torch.ones(4, 4, dtype=torch.bool)
    others[3, 1] = others[0, 2] = False
    assert torch.equal(after.isinf()[..., others], before[..., others])


def test_a_cell_that_is_allowed_keeps_its_bias_and_a_hidden_one_gets_zero() -> None:
    s = scenario(query_len=4, mask="causal", score_bias="alibi")
    plain = trace(s)
    found = trace(s, edits="mask[*, *, 3, 0] = allow; mask[*, *, 0, 3] = allow")
    assert torch.equal(found["masked"][:, :, 3, 0], plain["masked"][:, :, 3, 0])
    assert torch.equal(found["masked"][:, :, 0, 3], plain["scaled"][:, :, 0, 3])


def test_extra_keys_can_be_hidden_although_no_mask_of_the_module_can() -> None:
    found = trace(scenario(query_len=3, add_zero_attn=True), edits="mask[*, *, 0, 3] = hide")
    assert found["weights"][0, :, 0, 3].eq(0).all()
    assert found["weights"][0, :, 1, 3].gt(0).all()


def test_later_statements_override_earlier_ones() -> None:
    found = trace(CROSS, edits="query[0, 0, 0] = 1; query[0, 0, 0] = 2; temperature = 3; temperature = 1")
    assert found["query"][0, 0, 0] == 2
    assert found.given.temperature == 1


def test_dropouts_draw_stays_the_same_under_edits() -> None:
    s = scenario(query_len=6, dropout=0.5, training=True)
    plain, found = trace(s), trace(s, edits="q_weight[0, 0] = 3")
    assert torch.equal(found["weights"] == 0, plain["weights"] == 0)
    torch.testing.assert_close(found["weights"][found["weights"] > 0], 2 * found["softmax"][found["weights"] > 0])


def test_edits_are_made_on_copies() -> None:
    state, x = copy.deepcopy(shared_module(CROSS).state_dict()), build(CROSS).query.clone()
    plain = trace(CROSS)
    again = plain.edited("q_weight[0, 0] = 9; out_weight[0, 0] = 9; query[0, 0, 0] = 9; mask[*, *, 0, 0] = hide")
    assert again.given.call.module is not plain.given.call.module
    assert all(torch.equal(value, shared_module(CROSS).state_dict()[name]) for name, value in state.items())
    assert torch.equal(build(CROSS).query, x)
    assert plain.given.mask is None
    assert math.isinf(float(again["masked"][0, 0, 0, 0]))
