"""How settings are spelt: values that mean the same become one text, so that links and cache keys agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mha_viz.errors import ScenarioError
from mha_viz.masks import mask as parse_mask
from mha_viz.masks import score_bias as parse_bias


def mask(value: Any) -> str:
    """Spell a mask as it prints itself; raise `MaskError` if it cannot be read."""
    return str(parse_mask(value))


def bias(value: Any) -> str:
    """Spell a score bias as it prints itself, or as nothing; raise `MaskError` if it cannot be read."""
    return str(parse_bias(value)) if value and str(value).strip() else ""


def padding(value: Any, name: str = "padding") -> str:
    """Spell lengths as `5, 3, 4`; a sequence of whole numbers is taken too; raise `ScenarioError` for anything else."""
    if value is None:
        return "none"
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(str(length) for length in value)
    text = str(value).strip().lower()
    if text in ("auto", "none"):
        return text
    if not re.fullmatch(r"\d{1,6}([\s,]+\d{1,6})*,?", text):
        allowed = "'auto', 'none' or the real length of each batch item, such as '5, 3, 4'"
        raise ScenarioError(f"{name} must be {allowed}, not {str(value)[:60]!r}.", field=name)
    return ", ".join(str(int(length)) for length in re.findall(r"\d+", text))


def device(value: Any) -> str:
    """Spell a device as torch does; raise `ScenarioError` for what is none."""
    text = str(value).strip().lower()
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", text):
        raise ScenarioError(f"device must be cpu, mps, cuda or cuda:<number>, not {str(value)[:60]!r}.", field="device")
    return text


def dtype(value: Any) -> str:
    """Spell `torch.float32` as `float32`."""
    return str(value).removeprefix("torch.")
