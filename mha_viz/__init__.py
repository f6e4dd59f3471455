"""See what `torch.nn.MultiheadAttention` does: every head's weights, under any mask, from a real forward.

>>> import mha_viz as mv
>>> run = mv.run(mv.Scenario(embed_dim=64, num_heads=4, query_len=16, mask="causal & window(4)"))
>>> run.layers[0].weights.shape  # [N, H, L, S]
torch.Size([1, 4, 16, 16])
>>> mv.figures.head_grid(run).show()
"""

from mha_viz import export, figures
from mha_viz.attention import LayerAttention, Run, run
from mha_viz.attention.capture import Captured, capture
from mha_viz.attention.paths import compare_paths
from mha_viz.attention.reach import assert_reach, reach
from mha_viz.attention.trace import Trace, trace
from mha_viz.doctor import Finding, Report, check
from mha_viz.errors import (
    CapacityError,
    CaptureWarning,
    DeviceError,
    InputError,
    MaskError,
    MhaVizError,
    ScenarioError,
)
from mha_viz.export.run_file import load
from mha_viz.inputs.assemble import Inputs
from mha_viz.masks import Mask, mask, score_bias
from mha_viz.masks.recognise import recognise
from mha_viz.scenario import Scenario

__version__ = "0.1.0"

__all__ = [
    "CapacityError",
    "CaptureWarning",
    "Captured",
    "DeviceError",
    "Finding",
    "InputError",
    "Inputs",
    "LayerAttention",
    "Mask",
    "MaskError",
    "MhaVizError",
    "Report",
    "Run",
    "Scenario",
    "ScenarioError",
    "Trace",
    "assert_reach",
    "capture",
    "check",
    "compare_paths",
    "export",
    "figures",
    "load",
    "mask",
    "reach",
    "recognise",
    "run",
    "score_bias",
    "trace",
]
