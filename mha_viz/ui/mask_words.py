"""What the Masks page says: pure functions of what was checked. Plain text, nothing escaped."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mha_viz.attention.path_table import PathTable
from mha_viz.attention.reach_check import Comparison
from mha_viz.doctor import Case, Finding, Mistake, Report
from mha_viz.figures.masks import Difference
from mha_viz.masks.recognise import Recognised
from mha_viz.scenario import Scenario

FUNCTIONS = {"mha": "nn.MultiheadAttention", "sdpa": "F.scaled_dot_product_attention"}
CONVENTIONS = {
    "mha": "in the convention of nn.MultiheadAttention, where True means ignore",
    "sdpa": "in the convention of F.scaled_dot_product_attention, where True means attend",
    "float": "as numbers that are added to the scores",
}


def headline(s: Scenario, case: Case) -> str:
    """Say what is compared: the intent, and the arguments as they are passed."""
    return f"intended: {_shortened(s.mask)} · given: {arguments(case)} to {FUNCTIONS[case.api]}"


def arguments(case: Case) -> str:
    """Name the masks of a case with their types and shapes."""
    given = {"attn_mask": case.attn_mask, "key_padding_mask": case.key_padding_mask}
    said = [f"{name} {described(mask)}" for name, mask in given.items() if mask is not None]
    said += ["is_causal=True"] if case.is_causal else []
    return ", ".join(said) or "no mask"


def described(mask: Tensor) -> str:
    """Say a tensor's type and shape, such as `bool [11, 11]`."""
    return f"{str(mask.dtype).removeprefix('torch.')} {list(mask.shape)}"


def verdict(report: Report, refusal: str, difference: Difference | None) -> tuple[str, str]:
    """Return how bad it is ("error", "warning", "info" or "success") and the one sentence that matters most."""
    if report.findings and not report.ok:
        worst = report.findings[0]
        return worst.severity, worst.message
    if refusal:
        return "error", refusal
    if difference is not None and (difference.leaks or difference.lost):
        return "warning", f"The mask given is another one than intended: {counts(difference)}."
    if report.findings:
        return "info", report.findings[0].message
    return "success", "The mask given does what was intended, in every cell."


def counts(difference: Difference) -> str:
    """Say how many cells are wrong, and in which direction."""
    said = []
    if difference.leaks:
        said.append(f"{difference.leaks:,} of {difference.cells:,} cells are open and should be hidden")
    if difference.lost:
        said.append(f"{difference.lost:,} are hidden and should be open")
    return ", ".join(said) or f"all {difference.cells:,} cells as intended"


def legend(difference: Difference, padded: bool) -> list[str]:
    """Explain the colours of the comparison; `padded` where a key_padding_mask hides cells too."""
    lines = ["Green: the query may look at the key. Grey and hatched: hidden."]
    if padded:
        lines[0] = lines[0][:-1] + ", \\ by key_padding_mask, / by attn_mask, × by both."
    if difference.leaks:
        lines[0] += f" Orange with a ring: open, but should be hidden ({difference.leaks:,} cells)."
    if difference.lost:
        lines[0] += f" Yellow: hidden, but should be open ({difference.lost:,} cells)."
    return lines


def code(mistake: Mistake, fixes: Sequence[str]) -> str:
    """Return what people write, and under it the fixes."""
    return "\n".join(
        [f"# what people write for {mistake.intent}", mistake.code, *(f"# fixed by\n{fix}" for fix in fixes)]
    )


def guess(found: Recognised) -> str:
    """Say one explanation of a raw mask."""
    return f"{found.agreement:.1%} of it is {_shortened(found.mask)}, {CONVENTIONS[found.convention]}"


def places(findings: Sequence[Finding]) -> str:
    """Name the positions of findings as (batch, head, query, key), `all` standing for every one."""
    where = [place for finding in findings for place in finding.where]
    if not where:
        return ""
    said = ["(" + ", ".join("all" if i is None else str(i) for i in place) + ")" for place in where[:8]]
    return "at (batch, head, query, key) = " + ", ".join(said)


def reach(compared: Comparison, item: int) -> list[str]:
    """Say what a perturbation test found in one batch item."""
    leaks, absent = int(compared.leaks[item].sum()), int(compared.absent[item].sum())
    lines = [
        "Each input was replaced in turn and every output compared bit by bit; no mask is trusted.",
        f"{leaks} pairs leak: the output depends on an input that was to be hidden."
        if leaks
        else "Nothing leaks: no output depends on an input that was to be hidden.",
    ]
    if absent:
        lines.append(f"{absent} pairs are absent (yellow): the output may depend on the input, but does not.")
    return lines


def paths(table: PathTable) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and lines of the table of execution paths."""
    lines: list[tuple[str, ...]] = []
    for row in table.rows:
        change = "" if row.max_difference is None else f"{row.max_difference:.3g}"
        empty = "" if row.nan_rows is None else str(row.nan_rows)
        lines.append((row.name, row.kernel, change, empty, row.words))
    return ("path", "what torch ran", "largest difference", "NaN rows", "in words"), lines


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
