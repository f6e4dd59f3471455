"""What the doctor says: findings, and the report that holds them."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

# (batch, head, query, key); None stands for all of them.
Position = tuple[int | None, int | None, int | None, int | None]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, about a mask.

    Attributes:
        rule: Id of the rule that found it, such as `inverted-mask`.
        severity: "error": the attention is wrong or the call fails; "warning": it is probably wrong, or works by
            luck; "note": right, but easily misread.
        message: One sentence.
        evidence: What was seen, with indices and numbers.
        where: Up to 8 positions (batch, head, query, key); None stands for all.
        fix: Python code over `attn_mask`, `key_padding_mask` and `is_causal`, and `torch`.
        layer: Names of the layers of a run in which it is so; empty where the masks of one call were checked.
    """

    rule: str
    severity: Severity
    message: str
    evidence: str
    where: tuple[Position, ...]
    fix: str
    layer: str = ""

    @property
    def docs(self) -> str:
        """The documentation page, as a path in the repository."""
        return f"docs/rules/{self.rule}.md"

    def __str__(self) -> str:
        parts = [
            f"{self.severity}  {self.rule}{f'  in {self.layer}' if self.layer else ''}",
            textwrap.indent(self.message, "  "),
        ]
        parts.append(textwrap.indent(f"seen: {self.evidence}", "    "))
        if self.fix:
            parts += ["    fix:", textwrap.indent(self.fix, "      ")]
        return "\n".join(parts)


@dataclass(frozen=True)
class Report:
    """All findings on one case, errors first, in the order in which they should be looked at."""

    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error and no warning."""
        return all(finding.severity == "note" for finding in self.findings)

    @property
    def summary(self) -> str:
        """How many findings there are of each severity, such as `1 error, 2 notes`."""
        counts = {name: sum(finding.severity == name for finding in self.findings) for name in SEVERITIES}
        said = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts.items() if count]
        return ", ".join(said) or "nothing to report"

    def of(self, rule: str) -> tuple[Finding, ...]:
        """Return the findings of one rule."""
        return tuple(finding for finding in self.findings if finding.rule == rule)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain lists, dicts, strings and numbers, ready for JSON."""
        found = [{**asdict(finding), "docs": finding.docs} for finding in self.findings]
        for finding in found:
            finding["where"] = [list(position) for position in finding["where"]]
        return {"ok": self.ok, "summary": self.summary, "findings": found}

    def _repr_html_(self) -> str:
        """Return the report as a notebook shows it."""
        from mha_viz.export.notebook import report_html

        return report_html(self)

    def __str__(self) -> str:
        return "\n\n".join([f"Mask check: {self.summary}", *map(str, self.findings)])
