"""Every rule on its own good and bad example: what it says, what it leaves alone, and that its fix works."""

from __future__ import annotations

import pytest
import torch

from mha_viz.doctor import RULES, Case, Rule, examine, repaired
from mha_viz.errors import MaskError

EVERY = [pytest.param(rule, id=rule.id) for rule in RULES.values()]
REPAIRED = [pytest.param(rule, id=rule.id) for rule in RULES.values() if rule.repair]
CALL = ("attn_mask", "key_padding_mask", "is_causal", "batch_first", "training", "average_attn_weights")


def equal(left: object, right: object) -> bool:
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)
    return left is right or left == right


def executed(fix: str, case: Case) -> dict[str, object]:
    names = {name: getattr(case, name) for name in CALL}
    exec(fix, {"torch": torch}, names)
    return {name: names[name] for name in CALL}


@pytest.mark.parametrize("rule", EVERY)
def test_the_bad_example_is_found(rule: Rule) -> None:
    found = examine(rule.bad()).of(rule.id)
    assert found
    for finding in found:
        assert finding.message.endswith(".")
        assert finding.evidence
        assert finding.fix
        assert len(finding.where) <= 8
    if rule.severity == "note":
        assert examine(rule.bad()).ok


@pytest.mark.parametrize("rule", EVERY)
def test_the_good_example_gives_no_error_and_no_warning(rule: Rule) -> None:
    report = examine(rule.good())
    assert report.ok, str(report)
    assert not report.of(rule.id) or rule.id == "uniform-rows"


@pytest.mark.parametrize("rule", REPAIRED)
def test_the_repair_removes_the_finding_and_adds_none(rule: Rule) -> None:
    before, after = examine(rule.bad()), examine(repaired(rule.bad(), rule.id))
    assert not after.of(rule.id)
    assert {finding.rule for finding in after.findings if finding.severity != "note"} <= {
        finding.rule for finding in before.findings
    }


@pytest.mark.parametrize("rule", REPAIRED)
def test_the_code_of_the_fix_does_what_the_repair_does(rule: Rule) -> None:
    case = rule.bad()
    after = repaired(case, rule.id)
    made = executed(examine(case).of(rule.id)[0].fix, case)
    assert {name: equal(made[name], getattr(after, name)) for name in CALL} == dict.fromkeys(CALL, True)


def test_a_case_in_which_a_rule_finds_nothing_comes_back_as_it_is() -> None:
    case = RULES["inverted-mask"].good()
    assert repaired(case, "inverted-mask") is case


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("heads-unknown", "the rule heads-unknown has no repair: its finding says what to do"),
        ("no-such-rule", f"rule must be one of {', '.join(RULES)}, got 'no-such-rule'"),
    ],
)
def test_what_has_no_repair_is_refused(rule: str, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        repaired(Case(attn_mask=torch.zeros(2, 2)), rule)
    assert str(refused.value) == sentence


def test_rules_name_only_rules_as_their_explanation() -> None:
    assert {name for rule in RULES.values() for name in rule.explained_by} <= set(RULES)
