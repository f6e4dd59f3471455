"""The doctor over a run: every layer's masks as they were passed, equal findings once."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mha_viz as mv
from mha_viz.attention.capture import capture
from mha_viz.attention.runs import Run
from mha_viz.doctor import check
from mha_viz.doctor.runs import check_run

N, L, E, H = 2, 5, 16, 2
X = torch.randn(N, L, E, generator=torch.Generator().manual_seed(1))
CAUSAL = torch.ones(L, L, dtype=torch.bool).triu(1)


def encoded(mask: Tensor | None, layers: int = 2, **options: Any) -> Run:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(E, H, 32, dropout=0.0, batch_first=True), layers).eval()
    with capture(model, **options) as captured:
        model(X, mask)
    return captured.run()


def test_no_mask_no_finding() -> None:
    assert check_run(encoded(None)).findings == ()
    assert check_run(encoded(CAUSAL)).findings == ()
    assert str(check_run(encoded(None))) == "Mask check: nothing to report"


def test_a_finding_that_layers_share_comes_once_with_their_names() -> None:
    (finding,) = check_run(encoded(CAUSAL.float())).findings
    assert finding.rule == "additive-ones"
    assert finding.layer == "layers.0.self_attn, layers.1.self_attn"
    assert str(finding).startswith("error  additive-ones  in layers.0.self_attn, layers.1.self_attn\n")
    (finding,) = check_run(encoded(CAUSAL.float(), layers=6)).findings
    assert finding.layer == "layers.0.self_attn, layers.1.self_attn, layers.2.self_attn and 3 more"


def test_findings_are_those_of_check_with_what_the_layer_knows() -> None:
    inverted = ~CAUSAL
    run = encoded(inverted, layers=1)
    record = run.layers[0]
    report = check_run(run)
    alone = check(inverted, num_heads=H, query_len=L, key_len=L, batch_size=N, weights=record.weights)
    assert [finding.rule for finding in report.findings] == [finding.rule for finding in alone.findings]
    assert report.findings[0].rule == "inverted-mask"
    assert [finding.evidence for finding in report.findings] == [finding.evidence for finding in alone.findings]
    assert not report.ok
    plain = report.as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["findings"][0]["layer"] == "layers.0.self_attn"


def test_layers_with_masks_of_their_own_are_told_apart() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.right, self.wrong = (nn.MultiheadAttention(E, H, batch_first=True) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            x = self.right(x, x, x, attn_mask=CAUSAL)[0]
            return self.wrong(x, x, x, attn_mask=~CAUSAL)[0]

    with capture(model := Two()) as captured:
        model(X)
    assert {finding.layer for finding in check_run(captured.run()).findings} == {"wrong"}


def test_the_functions_masks_are_read_as_the_functions() -> None:
    class Attends(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            q = x.view(N, L, H, -1).transpose(1, 2)
            return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    def rules(mask: Tensor, **options: Any) -> set[str]:
        with capture(model := Attends(), **options) as captured:
            model(X, mask)
        return {finding.rule for finding in check_run(captured.run()).findings}

    assert rules(~CAUSAL) == set()
    assert "inverted-mask" in rules(CAUSAL)
    assert "inverted-mask" in rules(CAUSAL, heads=[1], items=[0])


class Calls(nn.Module):
    """Calls the function with one tensor as query, key and value."""

    def forward(self, query: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, query, query, attn_mask=mask)


def run_of_calls(lead: tuple[int, ...], mask: Tensor) -> Run:
    query = torch.randn(*lead, L, 8, generator=torch.Generator().manual_seed(0))
    with capture(model := Calls()) as captured:
        model(query, mask)
    return captured.run()


@pytest.mark.parametrize(
    ("lead", "shape"),
    [
        ((), (L, L)),
        ((), (L,)),
        ((3,), (L,)),
        ((3,), (3, L, L)),
        ((3,), (1, L, L)),
        ((3,), (3, 1, L)),
        ((2, 3), (3, L, L)),
        ((2, 3, 4), (4, L, L)),
        ((2, 3, 4), (3, 1, L, L)),
        ((2, 3, 4), (1, 3, 1, L, L)),
    ],
    ids=str,
)
def test_a_call_that_ran_had_a_mask_of_the_right_shape(lead: tuple[int, ...], shape: tuple[int, ...]) -> None:
    assert check_run(run_of_calls(lead, torch.ones(shape, dtype=torch.bool))).findings == ()


@pytest.mark.parametrize(("lead", "own"), [((3,), (3,)), ((2, 3, 4), (1, 3, 1))], ids=str)
def test_masks_are_read_whatever_the_number_of_dimensions(lead: tuple[int, ...], own: tuple[int, ...]) -> None:
    assert check_run(run_of_calls(lead, (~CAUSAL).expand(*own, L, L))).ok
    assert check_run(run_of_calls(lead, CAUSAL.expand(*own, L, L))).findings[0].rule == "inverted-mask"


def test_an_item_that_the_lowest_number_hides_is_found_in_a_run() -> None:
    mask = torch.zeros(N, 1, 1, L)
    mask[1] = torch.finfo(torch.float32).min
    (finding,) = check_run(run_of_calls((N, H), mask)).findings
    assert (finding.rule, finding.where[0]) == ("uniform-rows", (1, None, 0, None))


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize("narrow", ["attn_mask", "key_padding_mask"])
def test_masks_whose_sum_had_the_right_type_are_no_error(narrow: str) -> None:
    model = nn.MultiheadAttention(E, H, batch_first=True)
    masks = {"attn_mask": torch.zeros(L, L), "key_padding_mask": torch.zeros(N, L)}
    masks[narrow] = masks[narrow].half()
    with capture(model) as captured:
        model(X, X, X, **masks)
    (finding,) = check_run(captured.run()).findings
    assert (finding.rule, finding.severity) == ("float-dtype", "warning")
    assert (
        finding.message
        == f"{narrow} is torch.float16, not the query's type torch.float32: torch would refuse it alone."
    )


def test_a_hint_without_a_mask_is_reported() -> None:
    model = nn.MultiheadAttention(E, H, batch_first=True).eval()
    with torch.no_grad(), capture(model) as captured:
        model(X, X, X, is_causal=True)
    rules = {finding.rule for finding in check_run(captured.run()).findings}
    assert rules & {finding.rule for finding in check(is_causal=True, query_len=L, key_len=L).findings}


@pytest.mark.parametrize("options", [{"heads": [1]}, {"items": [1]}, {"heads": [0], "items": [1, 0]}], ids=str)
def test_a_part_of_heads_and_items_is_checked_against_its_part_of_the_mask(options: dict[str, Any]) -> None:
    run = encoded((~CAUSAL).expand(N * H, L, L).clone(), **options)
    rules = {finding.rule for finding in check_run(run).findings}
    assert "inverted-mask" in rules
    assert "heads-unknown" not in rules
    assert check_run(encoded(CAUSAL.expand(N * H, L, L).clone(), **options)).ok


def test_padding_of_a_call_without_a_batch() -> None:
    model = nn.MultiheadAttention(E, H)
    with capture(model) as captured:
        model(X[0], X[0], X[0], key_padding_mask=torch.tensor([False] * 4 + [True]))
    assert check_run(captured.run()).ok


def test_floats_that_autocast_lets_through_are_right() -> None:
    model = nn.MultiheadAttention(E, H, batch_first=True)
    with torch.autocast("cpu", torch.bfloat16), capture(model) as captured:
        model(X, X, X, attn_mask=nn.Transformer.generate_square_subsequent_mask(L))
    assert check_run(captured.run()).findings == ()


def test_the_run_of_a_scenario() -> None:
    assert check_run(mv.run(mv.Scenario(query_len=6, mask="causal"))).ok
    nothing_left = check_run(mv.run(mv.Scenario(query_len=6, mask="q < k")))
    assert not nothing_left.ok
    assert nothing_left.findings[0].layer == "self_attn"
