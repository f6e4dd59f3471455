"""The README says what is there: its tables are current, its Python runs, and it names what can be set."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import mha_viz as mv
from docs.write_tables import README, filled
from mha_viz import settings
from mha_viz.masks import PATTERNS
from mha_viz.scenario import Scenario
from mha_viz.ui import reference

TEXT = README.read_text(encoding="utf-8")


def test_the_tables_are_current() -> None:
    assert filled(TEXT) == TEXT, "run `make docs`"


def test_every_mask_and_setting_is_named() -> None:
    assert all(f"`{pattern.example}`" in TEXT for pattern in PATTERNS.values())
    assert all(f"`{name}`" in TEXT for name in settings.metadata(Scenario))
    assert set(re.findall(r"<!-- table: (.+?) -->", TEXT)) == set(reference.TABLES)


EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("source", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_python_examples_run(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # one of them writes a file
    names: dict[str, Any] = {"mv": mv, "torch": torch, "my_tensor": torch.randn(5, 64)}
    exec(source, names)
    if "run" in names:
        assert names["run"].layers[0].weights.shape == (1, 4, 16, 16)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:\]\(|src=\")(?!http)([^)\"]+)", TEXT))))
def test_every_link_to_a_file_leads_somewhere(target: str) -> None:
    assert (README.parent / target).exists()


def test_every_environment_variable_of_the_code_is_documented() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in Path(mv.__file__).parent.rglob("*.py"))
    assert set(re.findall(r"\"(MHA_VIZ_\w+)\"", code)) <= set(re.findall(r"`(MHA_VIZ_\w+)", TEXT))
