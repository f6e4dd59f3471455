"""The execution paths of one attention layer side by side: the same inputs, and where the outputs differ.

print(compare_paths(Scenario(mask="causal")))
print(compare_paths(nn_multihead_attention, x, attn_mask=m))
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mha_viz.attention import direct, memory
from mha_viz.attention.calls import Layout
from mha_viz.attention.device import resolve
from mha_viz.attention.kernel import watched
from mha_viz.attention.layer import arguments, seeded, shared_module
from mha_viz.attention.path_table import Observed, PathTable, table
from mha_viz.errors import InputError, ScenarioError
from mha_viz.inputs.assemble import build, sizes
from mha_viz.scenario import ATTENTION, Scenario

# The fast path's switch belongs to the whole process: only one table at a time is made, so that none sees another's.
_switch = threading.Lock()


@dataclass(frozen=True, eq=False)
class Case:
    """What every path is given: a private copy of the layer, and the arguments of its forward.

    Attributes:
        layer: In eval mode, with parameters that record gradients, which keeps the fast path closed where it should be.
        call: query, key, value, attn_mask, key_padding_mask and is_causal as given.
        training: The mode that the caller's layer is in.
    """

    layer: nn.MultiheadAttention
    call: dict[str, Any]
    training: bool

    @property
    def layout(self) -> Layout:
        """Where batch and tokens stand."""
        return Layout(self.call["query"].dim() == 3, bool(self.layer.batch_first))


@dataclass(frozen=True)
class Path:
    """One way through the module: the mode that it is in, and how it is called."""

    name: str
    context: str
    training: bool = False
    gradients: bool = True
    need_weights: bool = False
    fast_path_off: bool = False

    def __call__(self, case: Case) -> Tensor:
        """Return the output [N, L, E]."""
        switch = fast_path_off if self.fast_path_off else unchanged
        with switch(), torch.set_grad_enabled(self.gradients), seeded(0, str(case.call["query"].device)):
            case.layer.train(self.training)
            try:
                output = case.layer(**case.call, need_weights=self.need_weights, average_attn_weights=False)[0]
            finally:
                case.layer.eval()
        return case.layout.found(output.detach(), as_given=True)


EXPLICIT = Path("need_weights=True, eval", "in eval with need_weights=True", need_weights=True)
FUSED = Path("need_weights=False, eval", "in eval with need_weights=False")
INFERENCE = Path("need_weights=False, eval, no_grad", "in eval with no_grad", gradients=False)
TRAIN_EXPLICIT = Path("need_weights=True, train", "in train with need_weights=True", training=True, need_weights=True)
TRAIN = Path("need_weights=False, train", "in train with need_weights=False", training=True)
MODULE_PATHS = (
    EXPLICIT,
    FUSED,
    Path("need_weights=True, eval, no_grad", "in eval with no_grad", gradients=False, need_weights=True),
    INFERENCE,
    Path(
        "need_weights=False, eval, no_grad, fast path off",
        "in eval with no_grad and the fast path off",
        gradients=False,
        fast_path_off=True,
    ),
    TRAIN_EXPLICIT,
    TRAIN,
)
SDPA, FLEX = "F.scaled_dot_product_attention", "FlexAttention"


def compare_paths(
    target: Scenario | nn.MultiheadAttention,
    query: Tensor | None = None,
    key: Tensor | None = None,
    value: Tensor | None = None,
    *,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    is_causal: bool = False,
) -> PathTable:
    """Send the same inputs through every execution path of a layer, and say where their outputs differ.

    The paths are those of `nn.MultiheadAttention` (train and eval, with and without gradients, with and without
    weights, fast path on and off) and, with the masks turned round, `F.scaled_dot_product_attention` and
    FlexAttention. A path that refuses the call is a row that says why. The layer itself is not touched (a copy is
    called), torch's random numbers are left alone, and the switch of the fast path, which belongs to the whole
    process, is put back; meanwhile other threads may for a moment take the slow path, which gives the same numbers
    on correct masks.

    Args:
        target: A Scenario, which brings inputs and masks, or a layer.
        query: [N, L, E], [L, N, E] or [L, E], as the layer wants it; only with a layer.
        key: The query if None.
        value: The key if None.
        attn_mask: As for the layer: (L, S) or (N * H, L, S), True hides.
        key_padding_mask: As for the layer: (N, S), True hides.
        is_causal: The layer's hint.

    Returns:
        A table with a row for each path; `print` it.

    Raises:
        InputError: The target is something else, or has no query.
        ScenarioError: A Scenario is one of a stack of layers.
        CapacityError: A Scenario would need more memory than the limit.
    """
    if isinstance(target, Scenario):
        if any(given is not None for given in (query, key, value, attn_mask, key_padding_mask)) or is_causal:
            raise InputError("A Scenario brings its own inputs and masks, so compare_paths takes none with it.")
        resolve(target.device)
        memory.check(target, sizes(target))
        if target.stack != ATTENTION:
            message = f"compare_paths compares the paths of one layer, so stack must be {ATTENTION!r}, not"
            raise ScenarioError(f"{message} {target.stack!r}.", field="stack")
        layer, call = shared_module(target), arguments(target, build(target))
    elif isinstance(target, nn.MultiheadAttention):
        if not isinstance(query, Tensor) or query.dim() not in (2, 3):
            given = list(query.shape) if isinstance(query, Tensor) else type(query).__name__
            raise InputError(f"query must be a tensor [N, L, E], [L, N, E] or [L, E], not {given}.")
        key = query if key is None else key
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, "is_causal": is_causal}
        layer, call = target, {"query": query, "key": key, "value": key if value is None else value, **masks}
    else:
        raise InputError(f"The target must be a Scenario or an nn.MultiheadAttention, not {type(target).__name__}.")
    case = Case(copy.deepcopy(layer).requires_grad_(True).eval(), call, layer.training)
    with _switch:
        return _table(case)


def _table(case: Case) -> PathTable:
    observed = [_observed(path.name, path.context, partial(path, case)) for path in MODULE_PATHS]
    observed += [
        _observed(SDPA, "", partial(_direct, case, direct.scaled_dot_product)),
        # Its operator can't be watched, and it has but one.
        _observed(FLEX, "", partial(_direct, case, direct.flex), kernel="unfused"),
    ]
    return table(
        observed,
        preferred=(EXPLICIT.name, SDPA),
        expected=_expected(case),
        bias=case.layer.out_proj.bias,
        dropout={path.name for path in (TRAIN_EXPLICIT, TRAIN)} if case.layer.dropout else set(),
        shown=(TRAIN_EXPLICIT if case.training else EXPLICIT).name,
        encoder=(TRAIN.name, INFERENCE.name),
    )


def _observed(name: str, context: str, call: Callable[[], Tensor], *, kernel: str = "") -> Observed:
    try:
        if kernel:
            return Observed(name, context, kernel, call(), "")
        with watched() as ran:
            output = call()
        return Observed(name, context, ran(), output, "")
    except Exception as error:
        # Whatever a path has against these inputs is what its row says.
        first = str(error).strip().partition("\n")[0]
        return Observed(name, context, "", None, f"{type(error).__name__}: {first}")


def _direct(case: Case, path: Callable[..., Tensor], *, mask: bool = True, hint: bool = True) -> Tensor:
    """Call a function with what the masks and the hint say together, or with one of the two."""
    call, layout = case.call, case.layout
    query, key, value = (layout.canonical(call[name].detach()) for name in ("query", "key", "value"))
    merged = direct.merged_mask(
        case.layer,
        call["attn_mask"] if mask else None,
        call["key_padding_mask"],
        is_causal=hint and call["is_causal"],
        sizes=(query.shape[0], query.shape[1], key.shape[1]),
    )
    with torch.no_grad():
        return path(case.layer, query, key, value, merged)


def _expected(case: Case) -> dict[str, Tensor]:
    """Return what the output would be if the layer heeded the mask, the hint, or both, where they are two things."""
    if not case.call["is_causal"]:
        return {}
    readings: dict[str, dict[str, bool]] = {"both": {}, "mask": {"hint": False}, "hint": {"mask": False}}
    try:
        return {name: _direct(case, direct.scaled_dot_product, **reading) for name, reading in readings.items()}
    except Exception:  # a mask that the function refuses: its own row says why
        return {}


@contextmanager
def fast_path_off() -> Iterator[None]:
    """Close the fast path of every module in this process, and put the switch back."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def unchanged() -> Iterator[None]:
    """Leave the switch as it is."""
    yield
