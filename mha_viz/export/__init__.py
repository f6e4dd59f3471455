"""What leaves the app: a runnable script, and weights as files."""

from mha_viz.export.arrays import csv_text, npz
from mha_viz.export.scripts import script

__all__ = ["csv_text", "npz", "script"]
