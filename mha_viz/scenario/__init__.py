"""Scenario: one frozen value of primitives that says everything a picture depends on.

It is the link, the cache key, the exported script and the test case. Fields that torch's modules take are named as
the modules name them; `batch_first` only decides how tensors are handed over, what comes back is always [N, H, L, S]
and [N, L, E].
"""

from mha_viz.scenario.input_fields import INPUTS, PATTERNED
from mha_viz.scenario.layer_fields import LAYER, RUN
from mha_viz.scenario.mask_fields import MASKS
from mha_viz.scenario.scenario import GROUPS, Scenario
from mha_viz.scenario.stack_fields import ATTENTION, DECODER, ENCODER, ENCODER_DECODER, STACK

__all__ = [
    "ATTENTION",
    "DECODER",
    "ENCODER",
    "ENCODER_DECODER",
    "GROUPS",
    "INPUTS",
    "LAYER",
    "MASKS",
    "PATTERNED",
    "RUN",
    "STACK",
    "Scenario",
]
