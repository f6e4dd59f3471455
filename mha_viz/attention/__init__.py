"""The real forward, and what can be read off it."""

from mha_viz.attention.forward import run
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run

__all__ = ["LayerAttention", "Run", "run"]
