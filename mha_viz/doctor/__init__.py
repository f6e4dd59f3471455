"""The doctor: says what is wrong with a mask, shows where, and hands back the fix as code.

    report = check(attn_mask=m, num_heads=8, intent="causal")
    print(report)

A rule is one function in `rules/` with a good and a bad example; reports, tests and docs find it through `RULES`.
"""

from mha_viz.doctor import rules as _rules  # noqa: F401  (fills RULES)
from mha_viz.doctor.case import Case
from mha_viz.doctor.findings import Finding, Report, Severity
from mha_viz.doctor.mistakes import MISTAKES, Mistake
from mha_viz.doctor.registry import RULES, Rule
from mha_viz.doctor.report import check, examine, repaired

__all__ = [
    "MISTAKES",
    "RULES",
    "Case",
    "Finding",
    "Mistake",
    "Report",
    "Rule",
    "Severity",
    "check",
    "examine",
    "repaired",
]
