"""`check` and its report: order, wording for a terminal and for machines, and what is refused."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mha_viz.doctor import RULES, Case, Report, check, examine, repaired
from mha_viz.errors import MaskError

TRIL = torch.ones(4, 4, dtype=torch.bool).tril()
RIGHT = ~TRIL


def test_a_report_reads_well_in_a_terminal() -> None:
    assert str(check(torch.ones(4, 4).triu(1), intent="causal")) == (
        "Mask check: 1 error\n"
        "\n"
        "error  additive-ones\n"
        "  attn_mask is a float mask of 0 and 1, which hides nothing: floats are added to the scores.\n"
        "    seen: 6 of 16 cells are 1.0, the first at (0, 1); each multiplies the unnormalised weight of its key by "
        "e = 2.718, so that key gets more attention, not none\n"
        "    fix:\n"
        "      attn_mask = attn_mask == 1"
    )
    assert str(check(RIGHT)) == "Mask check: nothing to report"


def test_errors_come_first_and_are_counted() -> None:
    padding = torch.tensor([[False, False, False, True]])
    report = check(torch.full((4, 4), -10.0, dtype=torch.float64).triu(1), padding)
    severities = [finding.severity for finding in report.findings]
    assert severities == ["error", "warning", "warning", "note"]
    assert report.summary == "1 error, 2 warnings, 1 note"
    assert not report.ok


def test_a_report_is_plain_data_for_machines() -> None:
    report = check(TRIL, intent="causal")
    plain = report.as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["ok"] is False
    assert plain["findings"][0]["rule"] == "inverted-mask"
    assert plain["findings"][0]["where"][0] == [None, None, 0, 1]
    assert plain["findings"][0]["docs"] == "docs/rules/inverted-mask.md"


def test_notes_leave_a_report_ok() -> None:
    report = check(key_padding_mask=torch.tensor([[False, True], [False, False], [False, True]]), query_len=2)
    assert [finding.severity for finding in report.findings] == ["note"]
    assert report.ok
    assert Report(()).ok


def test_arrays_are_taken_as_tensors() -> None:
    assert check(np.tril(np.ones((4, 4), dtype=bool))).findings[0].rule == "inverted-mask"
    assert check(np.triu(np.full((4, 4), -np.inf), 1)).findings[0].rule == "float-dtype"


def test_facts_are_read_off_a_module() -> None:
    module = nn.MultiheadAttention(8, 4, dropout=0.1, add_bias_kv=True, add_zero_attn=True)
    rules = [finding.rule for finding in check(torch.zeros(12, 3, 3).bool(), module=module).findings]
    assert rules == ["dropout-weights", "extra-columns"]
    half = nn.MultiheadAttention(8, 4, dtype=torch.bfloat16)
    assert check(torch.zeros(3, 3), module=half).findings[0].rule == "float-dtype"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        ({}, "check needs attn_mask, key_padding_mask, query_shape or is_causal=True, got none of them"),
        (
            {"attn_mask": torch.zeros(0, 3)},
            "attn_mask must have at least one cell and one dimension, got the shape (0, 3)",
        ),
        (
            {"key_padding_mask": torch.tensor(True)},
            "key_padding_mask must have at least one cell and one dimension, got the shape ()",
        ),
        ({"attn_mask": np.array([["a"]])}, "attn_mask must hold real numbers or bools, got <U1"),
        ({"attn_mask": "causal"}, "attn_mask must hold real numbers or bools, got str"),
        (
            {"key_padding_mask": torch.zeros(2, 3, dtype=torch.complex64)},
            "key_padding_mask must hold real numbers or bools, got torch.complex64",
        ),
        (
            {"attn_mask": torch.zeros(2, 2).to(torch.float8_e4m3fn)},
            "attn_mask must hold bools, integers or floats of 16 bits or more, got torch.float8_e4m3fn",
        ),
        ({"attn_mask": RIGHT, "api": "flex"}, "api must be 'mha' or 'sdpa', got 'flex'"),
        (
            {"attn_mask": RIGHT, "intent": "k + 1"},
            "a mask is expected at position 0, but 'k + 1' is a number: compare it, as in 'q - k < 4'",
        ),
    ],
)
def test_what_can_not_be_checked_is_refused(call, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        check(**call)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    ("call", "evidence", "fix"),
    [
        (
            {"attn_mask": torch.zeros(5, 3), "query_len": 3, "key_len": 5},
            "its shape is (5, 3): it is the transpose, (S, L)",
            "attn_mask = attn_mask.T",
        ),
        (
            {"attn_mask": torch.zeros(1, 4, 4), "num_heads": 2, "batch_size": 2},
            "its shape is (1, 4, 4): one mask for all is (L, S)",
            "attn_mask = attn_mask[0]",
        ),
        (
            {"attn_mask": torch.zeros(4, 3, 3), "num_heads": 4, "batch_size": 2},
            "its shape is (4, 3, 3): one mask a head has to be repeated for the 2 batch items",
            "attn_mask = attn_mask.repeat(2, 1, 1)",
        ),
        (
            {"attn_mask": torch.zeros(2, 1, 3, 3), "num_heads": 4, "batch_size": 2},
            "its shape is (2, 1, 3, 3): batch and heads are one dimension, n * H + h",
            "attn_mask = attn_mask.expand(2, 4, -1, -1).flatten(0, 1)",
        ),
        (
            {"attn_mask": torch.zeros(2, 5), "batch_size": 2, "query_len": 3, "key_len": 5},
            "its shape is (2, 5): (N, S) is the shape of a key_padding_mask",
            "# build attn_mask with the shape (3, 5)",
        ),
        (
            {"attn_mask": torch.zeros(8, 3, 3).bool(), "num_heads": 4, "batch_size": 2, "api": "sdpa"},
            "its shape is (8, 3, 3): batch and heads are two dimensions",
            "attn_mask = attn_mask.unflatten(0, (2, 4))",
        ),
        (
            {"attn_mask": torch.ones(4, 4).bool(), "query_len": 1, "key_len": 4, "api": "sdpa"},
            "its shape is (4, 4)",
            "# build attn_mask with the shape (N, H, 1, 4)",
        ),
        (
            {"attn_mask": torch.zeros(4), "query_len": 3, "key_len": 4, "api": "sdpa"},
            "its shape is (4,): it needs a dimension for the queries",
            "attn_mask = attn_mask[None]",
        ),
    ],
)
def test_wrong_shapes_are_explained(call, evidence: str, fix: str) -> None:
    finding = check(**call).of("mask-shape")[0]
    assert (finding.evidence, finding.fix) == (evidence, fix)


@pytest.mark.parametrize(
    "shape",
    [(1,), (3,), (1, 1), (3, 3), (2, 5), (4, 3, 3), (3, 1, 1), (1, 1, 1, 1), (2, 2, 3, 3), (1, 1, 1, 1, 1)],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8])
@pytest.mark.parametrize("api", ["mha", "sdpa"])
@pytest.mark.parametrize("intent", [None, "causal & padding(1, 2)", "(h == 0) | causal"])
def test_no_shape_makes_it_stumble(shape, dtype, api, intent) -> None:
    raw = torch.zeros(shape, dtype=dtype)
    for sizes in ({}, {"num_heads": 2, "batch_size": 2, "query_len": 3, "key_len": 3}):
        check(raw, api=api, intent=intent, **sizes)
        check(key_padding_mask=raw, api=api, intent=intent, **sizes)
        check(raw, raw, api=api, intent=intent, **sizes)


@pytest.mark.parametrize(
    ("call", "fix"),
    [
        ({"key_len": 2, "batch_size": 3}, "key_padding_mask = key_padding_mask.expand(3, -1)"),
        ({"key_len": 3}, "# build key_padding_mask with the shape (N, 3)"),
        ({"key_len": 3, "batch_size": 3}, "# build key_padding_mask with the shape (3, 3)"),
        ({}, "# build key_padding_mask with the shape (N, S)"),
        ({"key_len": 3, "query_shape": (3, 8)}, "# build key_padding_mask with the shape (3,)"),
    ],
    ids=str,
)
def test_padding_of_one_dimension_gets_a_fix_that_runs(call: dict[str, Any], fix: str) -> None:
    padding = torch.tensor([False, True])
    assert check(key_padding_mask=padding, **call).of("padding-shape")[0].fix == fix
    names = {"key_padding_mask": padding}
    exec(fix, names)
    made = repaired(Case(key_padding_mask=padding, **call), "padding-shape").key_padding_mask
    assert made is not None
    assert torch.equal(made, names["key_padding_mask"])


@pytest.mark.parametrize(
    ("padding", "call", "fix"),
    [
        (torch.tensor([False, True]), {}, "attn_mask = ~key_padding_mask[None, :]"),
        (torch.tensor([0, 1]), {}, "attn_mask = ~(key_padding_mask != 0)[None, :]"),
        (
            torch.tensor([False, True]),
            {"attn_mask": torch.zeros(3, 2)},
            "attn_mask = attn_mask.masked_fill(key_padding_mask[None, :], -torch.inf)",
        ),
        (
            torch.tensor([False, True, True]),
            {},
            "# build attn_mask with the shape (N, H, 3, 2), without key_padding_mask",
        ),
        (
            torch.tensor([[False, True]]),
            {"attn_mask": torch.zeros(3, 4)},
            "# build attn_mask with the shape (1, H, 3, 2), without key_padding_mask",
        ),
    ],
    ids=str,
)
def test_padding_is_merged_into_the_functions_mask_where_the_shapes_allow_it(
    padding: torch.Tensor, call: dict[str, Any], fix: str
) -> None:
    case = Case(key_padding_mask=padding, query_len=3, key_len=2, api="sdpa", **call)
    code, after = examine(case).of("padding-with-sdpa")[0].fix, repaired(case, "padding-with-sdpa")
    assert code.splitlines()[0] == fix
    names = {"attn_mask": case.attn_mask, "key_padding_mask": padding}
    exec(code, {"torch": torch}, names)
    if fix.startswith("#"):
        assert after is case
    else:
        assert after.key_padding_mask is None
        assert torch.equal(after.attn_mask, names["attn_mask"])
        assert examine(after).ok


FILLED = [
    (torch.bool, True),
    (torch.uint8, 1),
    (torch.float32, 1.0),
    (torch.float32, -torch.inf),
    (torch.float32, -1e9),
]


@pytest.mark.parametrize(
    "shape", [(3,), (2,), (3, 3), (2, 5), (2, 1), (4, 3, 3), (2, 1, 1, 3), (2, 2, 3, 3), (1, 1, 1, 1, 1)], ids=str
)
@pytest.mark.parametrize("padding", [(3,), (2,), (2, 3), (3, 2), (2, 1, 1, 3)], ids=str)
@pytest.mark.parametrize("api", ["mha", "sdpa"])
def test_no_shape_makes_a_repair_stumble(shape, padding, api) -> None:
    known = {"num_heads": 2, "batch_size": 2, "query_len": 3, "key_len": 3}
    for own, other, hint, sizes in itertools.product(FILLED, FILLED, (False, True), ({}, known)):
        masks = [torch.full(size, fill, dtype=kind) for size, (kind, fill) in ((shape, own), (padding, other))]
        case = Case(attn_mask=masks[0], key_padding_mask=masks[1], api=api, is_causal=hint, **sizes)
        for finding in examine(case).findings:
            if RULES[finding.rule].repair is not None:
                repaired(case, finding.rule)


def test_a_finding_names_the_first_cell_whatever_the_number_of_dimensions() -> None:
    for raw, first in ((torch.eye(3), (0, 0)), (torch.eye(3).flip(0)[None, None], (0, 0, 0, 2))):
        assert f"the first at {first};" in check(raw, api="sdpa").of("additive-ones")[0].evidence


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"])
def test_integers_of_every_size_are_found_and_mended(dtype: str) -> None:
    given = np.triu(np.ones((4, 4)), 1).astype(dtype)
    (found,) = check(given, intent="causal").findings
    assert (found.rule, found.evidence) == ("integer-mask", f"its dtype is torch.{dtype}, with values from 0 to 1")
    names: dict[str, Any] = {"attn_mask": torch.as_tensor(given)}
    exec(found.fix, {"torch": torch}, names)
    assert check(names["attn_mask"], intent="causal").findings == ()
