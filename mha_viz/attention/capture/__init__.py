"""The attention of the user's own model, recorded while it runs."""

from mha_viz.attention.capture.captured import Captured, capture

__all__ = ["Captured", "capture"]
