"""The rules, by what they look at. The order is that of the report: what torch refuses first, then what it takes."""

from mha_viz.doctor.rules import shapes, dtypes, numbers, penalties, polarity, rows, heads, causal, intent, layer  # noqa: F401, I001
