"""Rules, and the registry that finds them by id.

A rule is one function that looks at a case and yields what it sees, with a good and a bad example, which are its test
and its documentation, and a remedy, which is the fix as code and as data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mha_viz.doctor.case import Case
from mha_viz.doctor.findings import Finding, Position, Severity


class Symptom(NamedTuple):
    """What a rule sees; `check` makes a `Finding` of it.

    Attributes:
        message: One sentence.
        evidence: With indices and numbers.
        where: Up to 8 positions (batch, head, query, key).
        severity: That of the rule if None.
    """

    message: str
    evidence: str
    where: tuple[Position, ...] = ()
    severity: Severity | None = None


class Fix(NamedTuple):
    """What to do about it: `code` is what a person pastes, `apply` does the same to a case."""

    code: str
    apply: Callable[[Case], Case]


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong.

    Attributes:
        id: Stable, such as `inverted-mask`.
        severity: Of its findings, unless one says otherwise.
        title: A few words.
        why: Why it happens and what it does, in a few sentences.
        pitfall: P1 to P18.
        issues: Numbers of pytorch/pytorch issues about it.
        good: Makes a case that it has nothing to say about.
        bad: Makes a case that it finds.
        diagnose: Yields what it sees in a case.
        remedy: Returns the fix for a case that it finds something in; None where no change of the call helps.
        advice: Code that helps where there is no remedy.
        explained_by: Ids of the rules whose finding makes this one's superfluous.
    """

    id: str
    severity: Severity
    title: str
    why: str
    pitfall: str
    issues: tuple[int, ...]
    good: Callable[[], Case]
    bad: Callable[[], Case]
    diagnose: Callable[[Case], Iterator[Symptom]]
    remedy: Callable[[Case], Fix] | None
    advice: str
    explained_by: tuple[str, ...]

    @property
    def docs(self) -> str:
        """The documentation page, as a path in the repository."""
        return f"docs/rules/{self.id}.md"

    @property
    def repair(self) -> Callable[[Case], Case] | None:
        """What the fix does, as data; None where there is no remedy."""
        remedy = self.remedy
        return None if remedy is None else lambda case: remedy(case).apply(case)

    def findings(self, case: Case) -> Iterator[Finding]:
        """Yield what this rule finds in a case."""
        for symptom in self.diagnose(case):
            yield Finding(
                rule=self.id,
                severity=symptom.severity or self.severity,
                message=symptom.message,
                evidence=symptom.evidence,
                where=symptom.where[:8],
                fix=self.remedy(case).code if self.remedy else self.advice,
            )


RULES: dict[str, Rule] = {}


def rule(
    id: str,  # noqa: A002  (the word the reports use)
    severity: Severity,
    title: str,
    *,
    why: str,
    pitfall: str,
    good: Callable[[], Case],
    bad: Callable[[], Case],
    issues: tuple[int, ...] = (),
    remedy: Callable[[Case], Fix] | None = None,
    advice: str = "",
    explained_by: tuple[str, ...] = (),
) -> Callable[[Callable[[Case], Iterator[Symptom]]], Rule]:
    """Return the decorator that turns a function into a `Rule` and files it by id; the arguments are its attributes."""

    def register(diagnose: Callable[[Case], Iterator[Symptom]]) -> Rule:
        RULES[id] = Rule(id, severity, title, why, pitfall, issues, good, bad, diagnose, remedy, advice, explained_by)
        return RULES[id]

    return register
