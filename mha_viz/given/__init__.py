"""A mask that was brought to be checked, beside the one that was intended."""

from mha_viz.given.cases import case, fixed_case, intent
from mha_viz.given.choice import CORRECT, Given, fitted, hold
from mha_viz.given.outcomes import intended, paths_under, reach_under, run

__all__ = [
    "CORRECT",
    "Given",
    "case",
    "fitted",
    "fixed_case",
    "hold",
    "intended",
    "intent",
    "paths_under",
    "reach_under",
    "run",
]
