"""Generated tests are run by the real pytest, where mha_viz cannot be imported: red on the bug, green on the fix."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from xml.etree import ElementTree

import pytest
import torch

from mha_viz.doctor import MISTAKES, RULES, Case, Mistake, Rule, examine
from mha_viz.doctor.reading import Sizes
from mha_viz.errors import InputError, MaskError
from mha_viz.export.pytests import pytest_for
from mha_viz.masks import mask

CAUSAL = torch.ones(4, 4, dtype=torch.bool).triu(1)


def mistaken(mistake: Mistake) -> Case:
    return mistake.build(Sizes(2, 4, 6, 6), mask(mistake.intent))


def does_harm(case: Case, rule: str) -> bool:
    return RULES[rule].remedy is not None and any(found.severity != "note" for found in examine(case).of(rule))


def large(dtype: torch.dtype) -> Case:
    return Case(attn_mask=torch.ones(40, 40).tril().to(dtype), intent=mask("causal"), num_heads=2)


CASES: dict[str, tuple[Callable[[], Case], str | None]] = {
    **{f"rule {rule.id}": (rule.bad, rule.id) for rule in RULES.values() if does_harm(rule.bad(), rule.id)},
    **{
        f"mistake {mistake.name}": (lambda mistake=mistake: mistaken(mistake), mistake.rule)
        for mistake in MISTAKES.values()
        if does_harm(mistaken(mistake), mistake.rule)
    },
    "first finding": (lambda: Case(attn_mask=~CAUSAL, intent=mask("causal")), None),
    "several bugs": (lambda: Case(attn_mask=(~CAUSAL).to(torch.uint8), intent=mask("causal")), None),
    "cross attention": (lambda: Case(attn_mask=torch.ones(3, 5).triu(1), intent=mask("causal")), None),
    "heads alone": (lambda: Case(attn_mask=~CAUSAL.expand(3, 4, 4), num_heads=3, intent=mask("causal")), None),
    "sink": (lambda: Case(attn_mask=~CAUSAL, intent=mask("causal"), add_zero_attn=True, add_bias_kv=True), None),
    "half precision": (lambda: Case(attn_mask=~CAUSAL, intent=mask("causal"), dtype=torch.float16), None),
    "too narrow": (lambda: Case(attn_mask=~torch.eye(4, dtype=torch.bool), intent=mask("causal")), None),
    "unbatched": (lambda: Case(attn_mask=~CAUSAL, key_padding_mask=CAUSAL[2], intent=mask("causal")), None),
    "sdpa": (lambda: Case(attn_mask=CAUSAL, intent=mask("causal"), api="sdpa", num_heads=2), None),
    **{f"large {dtype}": (lambda dtype=dtype: large(dtype), None) for dtype in (torch.bool, torch.int64)},
    "large bfloat16": (lambda: large(torch.bfloat16).but(dtype=torch.bfloat16), None),
}


def file_name(case: str, fixed: bool) -> str:
    return f"test_{list(CASES).index(case)}_{'fixed' if fixed else 'bug'}"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """What became of each test of each generated file: ("passed" or "failed", message), all from one run of pytest."""
    folder = tmp_path_factory.mktemp("generated")
    for name, (build, rule) in CASES.items():
        for fixed in (False, True):
            source = pytest_for(build(), rule, fixed)
            (folder / f"{file_name(name, fixed)}.py").write_text(source, encoding="utf-8")
    (folder / "conftest.py").write_text("import torch\n\ntorch.set_num_threads(1)\n", encoding="utf-8")
    alone = ["-P", "-m", "pytest", "-c", "/dev/null", "--rootdir", "."]  # neither this project nor its settings
    done = subprocess.run(
        [sys.executable, *alone, "--assert=plain", "--tb=native", "--junit-xml", "report.xml", "."],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for test in ElementTree.parse(folder / "report.xml").iter("testcase"):
        (failure,) = [*test.iter("failure"), *test.iter("error")] or [None]
        message = "" if failure is None else failure.get("message", "")
        found.setdefault(test.get("classname", ""), []).append(("passed" if failure is None else "failed", message))
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_test_fails_on_the_bug_with_an_assertion(case: str, outcomes: dict[str, list[tuple[str, str]]]) -> None:
    failures = [message for outcome, message in outcomes[file_name(case, False)] if outcome == "failed"]
    assert failures
    assert all(message.startswith("AssertionError: ") for message in failures)


@pytest.mark.parametrize("case", CASES)
def test_the_test_passes_on_the_fix(case: str, outcomes: dict[str, list[tuple[str, str]]]) -> None:
    assert {outcome for outcome, _ in outcomes[file_name(case, True)]} == {"passed"}, outcomes[file_name(case, True)]


def test_the_failures_say_what_is_wrong(outcomes: dict[str, list[tuple[str, str]]]) -> None:
    said = {case: " ".join(message for _, message in outcomes[file_name(case, False)]) for case in CASES}
    assert "NaN in the rows (batch, head, query) [[0, 0, 3], [0, 1, 3]]" in said["first finding"]
    assert "weight where it is forbidden, (batch, head, query, key) [[0, 0, 0, 1]" in said["rule additive-ones"]
    assert "no weight where it is allowed, (batch, head, query, key) [[0, 0, 1, 0]" in said["too narrow"]
    assert "torch refuses the call: Need attn_mask if specifying the is_causal hint" in said["rule causal-hint-alone"]
    assert "key 1 reaches, or misses, the outputs (batch, query) [[0, 0]]" in said["rule causal-hint-alone"]


@cache
def source(case: str, fixed: bool = False) -> str:
    build, rule = CASES[case]
    return pytest_for(build(), rule, fixed)


@pytest.mark.parametrize("case", CASES)
def test_a_generated_file_needs_torch_and_pytest_alone(case: str) -> None:
    tree = ast.parse(source(case))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= {"torch", "pytest", "torch.nn.functional", "warnings", "base64", "zlib"}
    assert {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)} <= {"torch"}


@pytest.mark.parametrize("case", CASES)
def test_bug_and_fix_differ_in_the_comment_signs_of_the_fix_alone(case: str) -> None:
    bug, fix = source(case).splitlines(), source(case, True).splitlines()
    changed = [(before, after) for before, after in zip(bug, fix, strict=True) if before != after]
    assert changed
    assert all(before == after.replace("    ", "    # ", 1) for before, after in changed)


def test_the_code_of_the_fix_is_that_of_the_finding() -> None:
    finding = examine(CASES["first finding"][0]()).findings[0]
    assert f"    # The fix:\n    # {finding.fix}\n" in source("first finding")
    assert f"# {finding.rule}: {finding.message}\n# intended: causal\n" in source("first finding")


def _no_harm(rule: Rule) -> bool:
    return not does_harm(rule.bad(), rule.id)


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if _no_harm(rule)], ids=lambda rule: rule.id)
def test_what_does_no_harm_has_no_test(rule: Rule) -> None:
    with pytest.raises(MaskError) as caught:
        pytest_for(rule.bad(), rule.id)
    assert str(caught.value) == f"{rule.id} does no harm that a test could show: its finding says what to do"


def refusal(case: Case, rule: str | None = None) -> str:
    with pytest.raises(MaskError) as caught:
        pytest_for(case, rule)
    return str(caught.value)


def test_right_masks_have_no_test() -> None:
    right = Case(attn_mask=CAUSAL, intent=mask("causal"))
    assert refusal(right) == "the doctor finds nothing in these masks, so no test can fail on them"
    assert refusal(right, "inverted-mask") == "inverted-mask finds nothing in these masks, so no test can fail on them"
    assert refusal(right, "wrong") == f"rule must be one of {', '.join(RULES)}, got 'wrong'"


def test_a_mask_too_large_to_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mha_viz.export.pytests.MAX_PACKED_CHARACTERS", 20)
    with pytest.raises(InputError) as caught:
        pytest_for(large(torch.bool))
    message = str(caught.value)
    assert message.startswith("attn_mask is too large to be written into a test: packed it has ")
    assert message.endswith(" characters, at most 20.")
