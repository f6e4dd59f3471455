"""Which stages the figures of the Inside page draw, and what a clicked cell of them stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mha_viz.attention.trace import Trace
from mha_viz.figures import stages
from mha_viz.figures.grammar import Spec

COLUMNS = 3
INPUTS = {"query", "key", "value"}


@dataclass(frozen=True)
class Touched:
    """A clicked cell: the stage, and its indices by the names of the panel's axes, such as `{"query": 3, "key": 5}`."""

    stage: str
    at: dict[str, int]


def figure(trace: Trace, names: Sequence[str], item: int, head: int, before: Trace | None = None) -> Spec:
    """Return the panels of several stages in one figure; with `before`, each beside its difference to that trace.

    Inputs that are one tensor are drawn once: in self-attention one panel stands for query, key and value.
    `meta["panels"]` says which stage each panel shows.
    """
    twins = {name: [other for other in names if name == other or _same_input(trace, name, other)] for name in names}
    own = [name for name in names if twins[name][0] == name]
    spec = stages.stages(trace, own, item=item, head=head, changed_from=before)
    panels, notes = spec["layout"]["meta"]["panels"], spec["layout"]["annotations"]
    each = len(panels) // len(own)  # with `before` two panels a stage, which stay in one line
    spec["layout"]["meta"]["columns"] = COLUMNS // each * each
    for index, panel in enumerate(panels):
        panel["stage"] = own[index // each]
        if index % each == 0 and len(twins[panel["stage"]]) > 1:
            panel["title"] = notes[index]["text"] = " = ".join(twins[panel["stage"]])
    return spec


def _same_input(trace: Trace, name: str, other: str) -> bool:
    return {name, other} <= INPUTS and trace[name] is trace[other]


def touched(spec: Spec, cell: tuple[int, int, int]) -> Touched | None:
    """Return what a clicked cell stands for, of a pooled block the first one's; None if there is no such panel."""
    meta = spec["layout"]["meta"]
    if cell[0] >= len(meta["panels"]):
        return None
    panel = meta["panels"][cell[0]]
    return Touched(panel["stage"], {panel["columns"]: cell[2] * meta["pool"], panel["rows"]: cell[1] * meta["pool"]})
