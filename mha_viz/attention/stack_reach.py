"""What the outputs of a whole stack depend on: with every layer a mask lets them see further."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mha_viz.attention.reach import reach
from mha_viz.scenario import ATTENTION, DECODER, ENCODER, Scenario

Side = Literal["query", "key"]
_QUERY = {ATTENTION: "query", ENCODER: "src"}
_KEY = {ATTENTION: ("key", "value"), ENCODER: "src", DECODER: "memory"}


def reach_of(s: Scenario, of: Side = "query") -> Tensor:
    """Return what the outputs of the whole stack depend on, found by perturbation; see `mha_viz.attention.reach`.

    Args:
        s: The settings of a stack, or of the layer alone.
        of: Which input is replaced, token by token: the query (an encoder's source, a decoder's target) or the key
            (the memory, or the source of encoder-decoder; the query too, where that is the memory).

    Returns:
        [L_out, L_in] on the CPU: the largest change of output i in any batch item when input j is replaced; 0 where it
        does not depend on it. Each input is two forwards of its own, so time grows with L_in times the stack's.

    Raises:
        InputError: The inputs do not fit the stack.
        CapacityError: One forward would need more memory than the limit.
        DeviceError: The device is not there.
    """
    return reach(s, perturb=_QUERY.get(s.stack, "tgt") if of == "query" else _KEY.get(s.stack, "src"), seed=s.seed)
