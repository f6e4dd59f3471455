"""Ways in which people build a mask wrongly: the code they write, and the case that comes of it.

mistake = MISTAKES["inverted"]
case = mistake.build(Sizes(batch=2, heads=4, queries=6, keys=6), mask("causal"))
examine(case)  # finds mistake.rule
"""

from mha_viz.doctor.mistakes import bools, numbers, padding, calls  # noqa: F401, I001  (fill MISTAKES, in this order)
from mha_viz.doctor.mistakes.registry import MISTAKES, Mistake

__all__ = ["MISTAKES", "Mistake"]
