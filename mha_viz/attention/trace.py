"""A trace: every step inside one layer, computed by this package and compared with what the module returned."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mha_viz.attention import cell, forward, memory
from mha_viz.attention.difference import largest_difference
from mha_viz.attention.edited import edited
from mha_viz.attention.edits import Edits, parse
from mha_viz.attention.ingredients import Ingredients, ingredients
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run, record_of
from mha_viz.attention.stages import STEPS, Stage, stages
from mha_viz.attention.windows import check_index
from mha_viz.errors import CapacityError, ScenarioError
from mha_viz.inputs.assemble import sizes
from mha_viz.scenario import ATTENTION, Scenario


@dataclass(frozen=True, eq=False)
class Trace:
    """The steps of one layer from its inputs to its output.

    Attributes:
        run: Where the layer ran.
        layer: Which of its layers.
        stages: What stands after each step, in order.
        weights_change: Largest difference of `weights` to the module's own; two NaN are equal, one alone is inf. It
            and `output_change` always tell of the steps without edits: with edits there is no module to compare with.
        output_change: Largest difference of `output` to the module's own.
        edits: What was changed before the steps were computed.
        recorded: What they start from without edits.
        given: What they start from.
    """

    run: Run
    layer: int
    stages: tuple[Stage, ...]
    weights_change: float
    output_change: float
    edits: Edits
    recorded: Ingredients
    given: Ingredients

    def __getitem__(self, name: str) -> Tensor:
        """Return the tensor of a stage, such as `scores` [N, H, L, S]."""
        return self.stage(name).tensor

    def stage(self, name: str) -> Stage:
        """Return a stage.

        Raises:
            ScenarioError: There is none of this name.
        """
        if name not in STEPS:
            raise ScenarioError(f"stage must be one of {', '.join(STEPS)}, not {name!r:.40}.", field="stage")
        return self.stages[list(STEPS).index(name)]

    def edited(self, edits: str | Edits) -> Trace:
        """Return the trace under these edits, instead of those that it has.

        Raises:
            ScenarioError: The edits cannot be read, or do not fit the layer.
            CapacityError: It would need more memory than the limit.
        """
        asked = parse(edits)
        check(self.recorded.shape, self.recorded.call.query.element_size(), dropped=self.recorded.factor is not None)
        given = edited(self.recorded, asked)
        return replace(self, stages=stages(given), edits=asked, given=given)

    def arithmetic(self, item: int, head: int, query: int, key: int) -> cell.Cell:
        """Return one weight with every number that it is made of, worked out in float64 from `q_heads` and `k_heads`.

        Raises:
            ScenarioError: An index is out of bounds.
        """
        weights, mask, factor = self["weights"], self.given.mask, self.given.factor
        place = cell.Place(item, head, query)
        place.check(weights)
        check_index("key", key, weights.shape[3])
        added = None if mask is None else mask.expand(weights.shape)[item, head, query]
        q, keys, v = self["q_heads"][item, head, query], self["k_heads"][item, head], self["v_heads"][item, head, key]
        temperature, drawn = self.given.temperature, None if factor is None else float(factor[item, head, query, key])
        row = cell.worked_out(place, q, keys, added, weights[item, head, query], temperature=temperature)
        return cell.cell_of(row, key, v, factor=drawn, temperature=temperature)


def trace(source: Scenario | Run, *, layer: int = 0, edits: str | Edits = "") -> Trace:
    """Compute every step inside one layer, and compare weights and output with the module's own.

    In float32 on the CPU both differ by at most 1e-6, dropout included, for which the draw of the module is repeated.
    In half precision they may differ by a rounding where a score bias is added.

    Args:
        source: A Scenario, which is run; or a Run of one, or one whose layer has its `call`.
        layer: Index into the run's layers.
        edits: What to change before the steps are computed; see `mha_viz.attention.edits`.

    Raises:
        ScenarioError: There is no such layer, what went into it was not kept, or the edits do not fit it.
        CapacityError: It would need more memory than the limit; nothing was allocated.
        MhaVizError: As `run`, for a Scenario.
    """
    asked = parse(edits)
    run = source if isinstance(source, Run) else _run(source)
    record = record_of(run, layer)
    check(record.shape, record.weights.element_size(), dropped=record.dropout > 0)
    given = ingredients(run, layer)
    steps = stages(given)
    own = {step.name: step.tensor for step in steps}
    found = Trace(
        run=run,
        layer=layer,
        stages=steps,
        weights_change=largest_difference(record.weights, own["weights"]),
        output_change=largest_difference(_explicit_output(run, record), own["output"]),
        edits=Edits(),
        recorded=given,
        given=given,
    )
    return found.edited(asked) if asked.statements else found


def check(shape: tuple[int, ...], item_bytes: int, *, dropped: bool = False) -> None:
    """Refuse a trace that would not fit, before anything is allocated.

    It keeps the scores, scaled, masked and after the softmax, each [N, H, L, S]; as much again for the mask and for
    comparing; and with dropout what was drawn and the weights.

    Args:
        shape: [N, H, L, S].
        item_bytes: Of one number.
        dropped: Whether dropout is active.

    Raises:
        CapacityError: It would need more than `memory.limit_bytes()`.
    """
    n, heads, length, keys = shape
    needed, limit = n * heads * length * keys * item_bytes * (6 + 2 * dropped), memory.limit_bytes()
    if needed > limit:
        raise CapacityError(
            f"A trace of weights [{n}, {heads}, {length:,}, {keys:,}] would need about {memory.spelled(needed)}, more "
            f"than the limit of {memory.spelled(limit)}: use fewer tokens, heads or batch items, or raise "
            f"{memory.LIMIT_VARIABLE}.",
            field="query_len",
        )


def _run(s: Scenario) -> Run:
    if s.stack == ATTENTION:
        _check_scenario(s)
    return forward.run(s)


def _check_scenario(s: Scenario) -> None:
    size = sizes(s)
    keys = size.key_len + s.add_bias_kv + s.add_zero_attn
    shape = (size.batch_size, s.num_heads, size.query_len, keys)
    check(shape, memory.ITEM_BYTES[s.dtype], dropped=s.training and s.dropout > 0)


def _explicit_output(run: Run, record: LayerAttention) -> Tensor:
    """Return the output of the call that gave the weights, which is another one where the Scenario asks for none."""
    s = run.scenario
    if record.call is None and s is not None and not s.need_weights:
        asked = replace(s, need_weights=True, average_attn_weights=False)
        padding = record.key_padding_mask
        if padding is not None and s.unbatched:  # which torch wants as [S] then; a record has [N, S]
            padding = padding[0]
        record = forward.run_given(asked, record.attn_mask, padding, inputs=run.inputs).layers[0]
    if record.output is None:
        raise ScenarioError("A layer whose output was not kept can't be traced.", field="layer")
    return record.output
