"""Without an intent: an inverted mask is told by the known pattern that it is the opposite of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mha_viz.doctor import Case, Report, check, examine, repaired
from mha_viz.masks import mask
from mha_viz.masks.encode import Api, as_given

KNOWN = [
    "window(1)",
    "causal & window(3)",
    "document(3, 4, 2)",
    "causal & document(3, 4, 2)",
    "block(2)",
    "strided(3)",
    "dilated(2, 2)",
    "window(1) | global_tokens(1)",
]
AMBIGUOUS = ["window(0)", "q > k", "prefix(4)", "padding(5)", "left_padding(5)", "global_tokens(2)", "random(0.3, 0)"]
L = 9


def inverted(allowed: Tensor, api: Api) -> Tensor:
    return as_given(~allowed, api)


def guess(report: Report) -> str | None:
    found = report.of("inverted-mask")
    return found[0].message if found else None


@pytest.mark.parametrize("api", ["mha", "sdpa"])
@pytest.mark.parametrize("text", KNOWN)
def test_the_opposite_of_a_known_pattern_is_a_warning(text: str, api: Api) -> None:
    allowed = mask(text).allowed(L)
    report = check(inverted(allowed, api), api=api)
    assert not report.ok
    assert (guess(report) or "").startswith(f"This looks like {text} in the convention of ")
    assert report.of("inverted-mask")[0].severity == "warning"
    case = repaired(Case(attn_mask=inverted(allowed, api), api=api), "inverted-mask")
    assert case.attn_mask is not None
    assert torch.equal(case.attn_mask, as_given(allowed, api))
    assert check(as_given(allowed, api), api=api).ok


@pytest.mark.parametrize(
    ("api", "message"),
    [
        (
            "mha",
            "This looks like causal & window(3) in the convention of F.scaled_dot_product_attention: "
            "in nn.MultiheadAttention True means 'do not look'.",
        ),
        (
            "sdpa",
            "This looks like causal & window(3) in the convention of nn.MultiheadAttention: "
            "in F.scaled_dot_product_attention True means 'may look'.",
        ),
    ],
)
def test_the_message_names_the_pattern_and_both_conventions(api: Api, message: str) -> None:
    found = check(inverted(mask("causal & window(3)").allowed(L), api), api=api).of("inverted-mask")[0]
    assert found.message == message
    assert found.evidence == (
        "every cell is the opposite of 'causal & window(3)'; first seen: "
        "(query, key) = (0, 1), (0, 2), (0, 3), (0, 4), ..."
    )


def test_a_float_mask_can_be_the_opposite_too() -> None:
    added = torch.zeros(L, L).masked_fill(mask("window(1)").allowed(L), -torch.inf)
    assert guess(check(added)) == (
        "This looks like window(1) turned round: in a float mask 0 means 'may look' and -inf 'do not look'."
    )


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_the_lengths_may_differ(shape: tuple[int, int]) -> None:
    assert "causal & window(2)" in (guess(check(mask("causal & window(2)").allowed(*shape))) or "")


def test_masks_of_batch_items_and_heads_are_looked_at_together() -> None:
    allowed = mask("causal & window(3) & padding(9, 7)").allowed(L, batch_size=2)
    by_item = allowed.expand(2, 4, L, L).flatten(0, 1)
    assert "causal & window(3) & padding(9, 7)" in (guess(check(by_item, num_heads=4)) or "")
    assert guess(check(~by_item, num_heads=4)) is None


@pytest.mark.parametrize("api", ["mha", "sdpa"])
@pytest.mark.parametrize("text", KNOWN + AMBIGUOUS)
def test_an_intent_leaves_nothing_to_guess(text: str, api: Api) -> None:
    given = inverted(mask("window(1)").allowed(L), api)
    report = check(given, api=api, intent=mask(f"({text}) ^ (q == k)"))
    assert not (guess(report) or "").startswith("This looks like")


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("api", ["mha", "sdpa"])
@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_may_be_meant_either_way_is_no_finding(text: str, api: Api, turn: bool) -> None:
    allowed = mask(text).allowed(L).reshape(L, L)
    assert guess(check(as_given(allowed ^ turn, api), api=api)) is None


@pytest.mark.parametrize("length", [1, 2])
def test_the_smallest_masks_are_not_guessed_at(length: int) -> None:
    for number in range(2 ** (length * length)):
        bits = torch.tensor([number >> i & 1 for i in range(length * length)]).bool().reshape(length, length)
        assert not (guess(check(bits)) or "").startswith("This looks like")


def test_a_guess_does_not_explain_away_what_is_certain() -> None:
    allowed = mask("window(4)").allowed(5, 9)  # turned round, query 4 sees nothing
    rules = [(finding.rule, finding.severity) for finding in examine(Case(attn_mask=allowed)).findings]
    assert rules == [("fully-masked-rows", "error"), ("inverted-mask", "warning")]
