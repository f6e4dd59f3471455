"""What the machine and the environment allow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mha_viz import environment


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("6400000 100000", 8)],
)
def test_a_container_has_no_more_cores_than_its_processor_time_is_for(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpu.max"
    told.write_text(f"{quota}\n", encoding="ascii")
    monkeypatch.setattr(environment, "QUOTA", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert environment.cores() == cores


def test_without_a_quota_all_cores_count_that_the_process_may_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "QUOTA", tmp_path / "none")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6}, raising=False)
    assert environment.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert environment.cores() == 12
