"""A forward that ran: its layers with what went in, and what can be asked of them together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from mha_viz.attention import windows
from mha_viz.attention.records import LayerAttention
from mha_viz.inputs.assemble import Inputs
from mha_viz.scenario import Scenario

if TYPE_CHECKING:
    from mha_viz.doctor import Report


@dataclass(frozen=True, eq=False)
class Run:
    """A forward that really ran, with all its attention layers.

    Attributes:
        layers: One record for each attention call, in call order.
        inputs: What the first layer was given, on the CPU in float32, with its token labels; None where it was not
            kept, as in a capture.
        scenario: The Scenario it came from, or None.
        device: Where it ran, such as `cpu`.
        dtype: Such as `float32`.
        seconds: Duration of the forward that gave the weights, device synchronised; None where it was not measured.
        peak_bytes: Peak memory of that forward as the device measured it, or None where it can't (CPU).
        name: What ran, in a few words, for a title; empty for a Scenario.
        norms: Name and L2 norm [N, L] of the residual stream, first as it enters a stack, then after each block.
        notes: Sentences on what is not as one would expect, such as calls left out for want of memory.
    """

    layers: tuple[LayerAttention, ...]
    inputs: Inputs | None
    scenario: Scenario | None
    device: str
    dtype: str
    seconds: float | None
    peak_bytes: int | None = None
    name: str = ""
    norms: tuple[tuple[str, Tensor], ...] = ()
    notes: tuple[str, ...] = ()

    def query_tokens(self, item: int = 0, layer: int = 0) -> tuple[str, ...]:
        """Return the L query labels of one batch item in one layer."""
        record = self.layers[layer]
        if record.query_tokens is not None:
            return record.query_tokens[item]
        return self.inputs.query_tokens[item] if self.inputs else _numbers(record.weights.shape[2])

    def key_tokens(self, item: int = 0, layer: int = 0) -> tuple[str, ...]:
        """Return the S key labels of one batch item in one layer, extra columns included."""
        record = self.layers[layer]
        if record.key_tokens is not None:
            own = record.key_tokens[item]
        elif self.inputs:
            own = self.inputs.key_tokens[item]
        else:
            own = _numbers(record.weights.shape[3] - len(record.extra_keys))
        return (*own, *record.extra_keys)

    def save(self, path: str | Path) -> None:
        """Write the run to a file that `mha_viz.load` and the page "Your model" read; see docs/run-file.md.

        Raises:
            InputError: The file cannot be written, or the run is too large for one.
        """
        from mha_viz.export import run_file

        run_file.save(self, path)

    def check(self) -> Report:
        """Return what the doctor says of every layer's masks as they were passed."""
        from mha_viz.doctor.runs import check_run

        return check_run(self)

    def _repr_html_(self) -> str:
        """Return the run as a notebook shows it."""
        from mha_viz.export.notebook import run_html

        return run_html(self)


def record_of(run: Run, layer: int, *, item: int = 0, head: int = 0, query: int = 0) -> LayerAttention:
    """Return one layer's record, having made sure that it has such a batch item, head and query.

    Raises:
        ScenarioError: An index is out of bounds.
    """
    windows.check_index("layer", layer, len(run.layers))
    record = run.layers[layer]
    for (name, index), end in zip({"item": item, "head": head, "query": query}.items(), record.shape, strict=False):
        windows.check_index(name, index, end)
    return record


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(count))
