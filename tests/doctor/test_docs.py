"""The pages about the rules are as the rules are, and their examples run."""

from __future__ import annotations

import re

import pytest
import torch

import mha_viz as mv
from docs.write_rules import FOLDER, example, pages
from mha_viz.doctor import RULES, check
from mha_viz.masks import mask


def test_the_pages_are_as_generated() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert found == pages(), "run `python -m docs.write_rules`"


@pytest.mark.parametrize("name", list(RULES))
def test_the_examples_run_as_they_are_printed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mv, "check", check, raising=False)
    names = {"mv": mv, "torch": torch, "mask": mask}
    bad, good = (eval(example(RULES[name], kind), names) for kind in ("bad", "good"))
    assert str(bad.of(name)[0]) in pages()[f"{name}.md"]
    assert good.ok


def test_every_rule_is_in_the_index() -> None:
    assert re.findall(r"\]\((.+?)\.md\)", pages()["README.md"]) == list(RULES)
