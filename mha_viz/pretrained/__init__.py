"""Pretrained models of Hugging Face transformers: text or a picture in, a Run of the model's own attention out.

transformers is the optional extra `[models]`; it is imported when a model is read, never before.
"""

from mha_viz.pretrained.choice import BUILT_IN, Reading
from mha_viz.pretrained.permission import allowed
from mha_viz.pretrained.picture import hold_image
from mha_viz.pretrained.projections import as_multihead_attention
from mha_viz.pretrained.reading import read, read_image, seen_image
from mha_viz.pretrained.sources import builtin, stamp

__all__ = [
    "BUILT_IN",
    "Reading",
    "allowed",
    "as_multihead_attention",
    "builtin",
    "hold_image",
    "read",
    "read_image",
    "seen_image",
    "stamp",
]
