"""What the Inside page says in formulas, tables and sentences: pure functions of traces."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mha_viz.attention import formulas
from mha_viz.attention.cell import Cell
from mha_viz.attention.moved import Moved
from mha_viz.attention.stages import STEPS
from mha_viz.attention.trace import Trace
from mha_viz.ui import words

TERMS = 2
"""How many numbers of a vector are written out."""


def formula(trace: Trace, names: Sequence[str]) -> str:
    """Return how stages come about and their real sizes, LaTeX, one line for each."""
    lines = []
    for name in names:
        stage = trace.stage(name)
        sizes = r",\; ".join(rf"{_letter(axis)}{{=}}{size}" for axis, size in zip(stage.axes, stage.shape, strict=True))
        lines.append(rf"& {stage.formula} && [{sizes}]")
    return r"\begin{aligned} " + r" \\ ".join(lines) + r" \end{aligned}"


def _letter(axis: str) -> str:
    return axis if len(axis) == 1 else rf"\text{{{axis}}}"


def arithmetic(cell: Cell, query: int, key: int) -> str:
    """Return the way from q · k to the weight, and to its share of the output row, LaTeX with the numbers in it."""
    weight = formulas.number(cell.weight)
    share = rf"{weight} \cdot {_vector(cell.v)} = {_vector(cell.weight * cell.v + 0.0)}"
    end = r" \end{aligned}"
    own = formulas.of_cell(cell).removesuffix(end)
    return rf"{own} \\ \text{{adds to row }}{query} &= A_{{{query},{key}}}\, v_{{{key}}} = {share}{end}"


def _vector(numbers: Tensor) -> str:
    shown = [formulas.number(x) for x in numbers[:TERMS].tolist()] + [r"\ldots"] * (len(numbers) > TERMS)
    return r"\left[" + r",\; ".join(shown) + r"\right]"


def proof(trace: Trace) -> str:
    """Say how far the steps are from the module's own numbers."""
    about = " without the edits" if trace.edits.statements else ""
    return (
        f"Computed step by step here{about}; largest difference to what the module itself returned: "
        f"weights {trace.weights_change:.2g}, output {trace.output_change:.2g}."
    )


def moved(found: Sequence[Moved]) -> str:
    """Return a table of the stages that the edits moved."""
    lines = [
        (STEPS[m.name][0], f"{m.change:.3g}".replace("inf", "∞"), f"{m.count:,} of {m.size:,}")
        for m in found
        if m.count
    ]
    return words.table(("what moved", "largest |Δ|", "numbers changed"), lines, "mha-steps")
