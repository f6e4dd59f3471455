"""Given: what is checked, from a mistake or a mask of one's own, and the sizes that it asks for."""

from __future__ import annotations

import re

import pytest
import torch

import mha_viz as mv
from mha_viz import given, settings
from mha_viz.doctor import MISTAKES, examine
from mha_viz.given import CORRECT, Given
from mha_viz.inputs.raw_mask import RawMask
from mha_viz.masks import PATTERNS, encode
from mha_viz.scenario import Scenario

S = Scenario(source="normal", query_len=6)


def raw(**tensors: torch.Tensor) -> RawMask:
    return RawMask({name.removeprefix("nameless"): tensor for name, tensor in tensors.items()}, "mine", "0" * 64)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.bool)


def test_a_query_string_brings_it_back() -> None:
    value = Given(mistake="float-ones", api="sdpa", fixed=("inverted-mask", "additive-ones"))
    assert value.fixes == ("inverted-mask", "additive-ones")
    assert Given(**settings.read_query(Given, settings.to_query(value)).values) == value
    assert value.before == Given(mistake="float-ones", api="sdpa", fixed="inverted-mask")
    assert Given().before is None


def test_no_setting_has_the_name_of_another() -> None:
    from mha_viz.ui.view import View

    names = [name for kind in (Scenario, Given, View) for name in settings.metadata(kind)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("api", ["mha", "sdpa"])
@pytest.mark.parametrize("pattern", [p for p in PATTERNS.values() if p.name != "cells"], ids=lambda p: p.name)
def test_the_mask_as_it_should_be_does_what_was_intended(pattern: object, api: str) -> None:
    s = Scenario(source="normal", query_len=6, batch_size=3, mask=f"({pattern.example}) | (q == k)")  # type: ignore[attr-defined]
    case = given.case(s, Given(mistake=CORRECT, api=api))
    assert [finding for finding in examine(case).findings if finding.severity == "error"] == []
    torch.testing.assert_close(given.run(s, case).layers[0].weights, mv.run(s).layers[0].weights)


def test_padding_is_part_of_the_intent_in_both_conventions() -> None:
    s = Scenario(text="one two three\nfour", mask="causal")
    expected = mv.run(s).layers[0].allowed.expand(2, 4, 3, 3)
    assert torch.equal(given.intent(s).allowed(3, batch_size=2, num_heads=4).expand(2, 4, 3, 3), expected)
    for api in ("mha", "sdpa"):
        layer = given.run(s, given.case(s, Given(mistake=CORRECT, api=api))).layers[0]
        assert torch.equal(layer.allowed.expand(2, 4, 3, 3), expected)


def test_a_fix_is_applied_and_its_code_is_told() -> None:
    case, codes = given.fixed_case(S, Given(mistake="inverted", fixed="inverted-mask"))
    assert codes == ("attn_mask = ~attn_mask",)
    assert torch.equal(case.attn_mask, encode.as_given(mv.mask("causal").allowed(6)))
    untouched, codes = given.fixed_case(S, Given(mistake="inverted", fixed="additive-ones"))
    assert codes == ()
    assert torch.equal(untouched.attn_mask, ~case.attn_mask)


def test_a_mask_of_ones_own_is_kept_as_it_is() -> None:
    mask = torch.ones(6, 6).triu(1)
    file = given.hold(raw(nameless=mask))
    assert given.case(S, Given(file=file)).attn_mask is mask
    padding = zeros(1, 6)
    file = given.hold(RawMask({"": padding}, "padding", "1" * 64))
    case = given.case(S, Given(file=file, role="key_padding_mask"))
    assert case.attn_mask is None
    assert case.key_padding_mask is padding


@pytest.mark.parametrize(
    ("mask", "role", "sizes"),
    [
        (raw(nameless=zeros(5, 5)), "attn_mask", (5, None, None)),
        (raw(nameless=zeros(5, 7)), "attn_mask", (5, 7, None)),
        (raw(nameless=zeros(8, 5, 5)), "attn_mask", (5, None, 2)),
        (raw(nameless=zeros(3, 4, 5, 5)), "attn_mask", (5, None, 3)),
        (raw(nameless=zeros(3, 5)), "key_padding_mask", (5, None, 3)),
        (raw(attn_mask=zeros(5, 5), key_padding_mask=zeros(3, 5)), "attn_mask", (5, None, 3)),
    ],
)
def test_the_sequence_becomes_as_long_as_the_mask(
    mask: RawMask, role: str, sizes: tuple[int, int | None, int | None]
) -> None:
    fitted = given.fitted(S, mask, role)
    assert (fitted.query_len, fitted.key_len, fitted.batch_size) == sizes


def test_a_layer_that_reads_the_batch_as_the_sequence_gives_weights_of_that_shape() -> None:
    s = Scenario(source="normal", query_len=6, batch_size=2, mask="full")
    case = given.case(s, Given(mistake=CORRECT)).but(batch_first=False)
    assert given.run(s, case).layers[0].weights.shape == (6, 4, 2, 2)


def test_the_causal_hint_alone_masks_nothing_in_eval() -> None:
    layer = given.run(S, given.case(S, Given(mistake="hint-alone"))).layers[0]
    assert layer.weights[0, :, 0].gt(0).all()


@pytest.mark.parametrize("api", ["mha", "sdpa"])
def test_reach_finds_each_cell_that_leaks_and_nothing_else(api: str) -> None:
    case = given.case(S, Given(mistake=CORRECT, api=api))
    mask = case.attn_mask.clone()
    mask[..., 1, 4] = not mask[..., 1, 4].any()
    _, right = given.reach_under(S, case)
    assert not right.leaks.any()
    _, wrong = given.reach_under(S, case.but(attn_mask=mask))
    assert wrong.leaks.nonzero().tolist() == [[0, 1, 4]]


def test_reach_sees_through_the_causal_hint_alone() -> None:
    _, compared = given.reach_under(S, given.case(S, Given(mistake="hint-alone")))
    assert torch.equal(compared.leaks[0], ~mv.mask("causal").allowed(6))


def test_a_rule_that_is_not_there_cannot_have_been_fixed() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^fixed must name rules of the doctor, not 'nonsense'\.$"):
        Given(fixed="nonsense")


def test_the_query_that_is_read_wrongly_has_the_settings_size() -> None:
    s = Scenario(source="normal", embed_dim=256, query_len=50, batch_size=2, mask="full", padding="none")
    (found,) = examine(given.case(s, Given(mistake="batch-first"))).of("batch-first")
    assert (
        found.evidence
        == "query has shape (2, 50, 256), which it takes for 50 batch items of 2 queries; N = 2 and L = 50 was meant"
    )


@pytest.mark.parametrize(
    ("settings_", "sentence"),
    [
        (
            {"query_len": 4_096, "num_heads": 64},
            "The layer and its weights [1, 64, 4,096, 4,096] in float32 would need",
        ),
        (
            {"query_len": 8_000, "num_heads": 1},
            "A mask that is checked must have at most 16,777,216 cells, not 8,000 x 8,000: reduce query_len to 4,096",
        ),
        (
            {"query_len": 131_072, "key_len": 256},
            "A mask that is checked must have at most 16,777,216 cells, not 131,072 x 256: reduce query_len to "
            "65,536, or key_len.",
        ),
    ],
)
@pytest.mark.parametrize("mistake", [CORRECT, *MISTAKES])
def test_what_is_too_large_is_refused_before_a_mask_is_built(
    settings_: dict[str, int], sentence: str, mistake: str
) -> None:
    s = Scenario(source="normal", padding="none", **settings_)
    with pytest.raises(mv.CapacityError, match=f"^{re.escape(sentence)}"):
        given.case(s, Given(mistake=mistake))


@pytest.mark.parametrize("mistake", [CORRECT, "float-ones"])
def test_the_doctor_is_told_of_the_layer_whatever_is_given(mistake: str) -> None:
    s = Scenario(source="normal", query_len=6, dtype="bfloat16", training=True, dropout=0.5, add_zero_attn=True)
    case = given.case(s, Given(mistake=mistake))
    assert (case.dtype, case.training, case.dropout, case.add_zero_attn) == (torch.bfloat16, True, 0.5, True)
    rules = [finding.rule for finding in examine(case).findings]
    assert ("float-dtype" in rules) == (mistake == "float-ones")


def test_the_function_has_no_extra_keys() -> None:
    s = Scenario(source="normal", query_len=6, add_bias_kv=True, add_zero_attn=True)
    case = given.case(s, Given(mistake=CORRECT, api="sdpa"))
    assert not case.sees_extra_keys
    assert given.run(s, case).layers[0].weights.shape == (1, 4, 6, 6)
    found, compared = given.reach_under(s, case)
    assert found.shape == (1, 6, 6)
    assert not compared.leaks.any()


def test_a_fix_of_the_averaging_is_a_call_that_returns_each_head() -> None:
    s = Scenario(source="normal", query_len=6, average_attn_weights=True)
    for fixed, shape in (("", (1, 6, 6)), ("averaged-weights", (1, 4, 6, 6))):
        layer = given.run(s, given.case(s, Given(mistake=CORRECT, fixed=fixed))).layers[0]
        assert layer.returned is not None
        assert layer.returned.shape == shape
