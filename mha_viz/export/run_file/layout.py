"""What is fixed in a run file; docs/run-file.md says it in words."""

from __future__ import annotations

FORMAT = "mha-viz run"
VERSION = "1"
SUFFIX = ".safetensors"

MAX_TENSORS = 8_192
"""Most tensors of a run file."""

MAX_HEADER = 2**20
"""Most bytes of its header, which holds names and tokens."""

MODULE = ("embed_dim", "num_heads", "dropout", "add_zero_attn", "kdim", "vdim", "batch_first", "training")
"""What is kept of a call's module besides its parameters, by the module's own names."""

NOT_FINITE = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
"""Numbers that JSON does not have, and how they are written."""
