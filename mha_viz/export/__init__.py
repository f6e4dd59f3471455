"""What leaves the app: a runnable script, weights as files, a mask in every convention, a bug as a pytest."""

from mha_viz.export.arrays import csv_text, npz
from mha_viz.export.conventions import conventions, sparsity
from mha_viz.export.pytests import pytest_for
from mha_viz.export.scripts import script

__all__ = ["conventions", "csv_text", "npz", "pytest_for", "script", "sparsity"]
