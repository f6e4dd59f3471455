"""This app against what a user would pick instead, all with the same weights, in one run and one Chromium.

8 heads, one layer, no mask. Who passes a limit (60 s for a picture, 4 GB for a process) is stopped, the reason is
printed, and longer sequences of his are not tried.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Error

import mha_viz as mv
from benchmarks import paint
from benchmarks.forward import bare_weights
from benchmarks.limits import Stopped
from benchmarks.opening import chromium_browser
from benchmarks.peers import apps, notebooks, report
from benchmarks.peers.record import Record
from benchmarks.table import Measured

LENGTHS = [16, 64, 256, 512, 1024, 2048, 4096, 16384, 65536]
ROUNDS = 3
NAMES = [*paint.SCRIPTS, *notebooks.READY]


def main(lengths: Sequence[int] = LENGTHS, names: Sequence[str] = NAMES, rounds: int = ROUNDS) -> Measured:
    """Measure everyone at every length, shortest first."""
    found: list[Record] = []
    with chromium_browser() as browser:
        for length in sorted(lengths):
            given_up = {record.name for record in found if record.stopped}
            found += _at(browser, length, [name for name in names if name not in given_up], rounds)
        versions = {"Chromium": browser.version, **report.versions(notebooks.PYTHON, list(notebooks.READY))}
    figures = [asdict(record) for record in found]
    return Measured(report.tables(found, list(names), rounds), figures, versions)


def _at(browser: Browser, length: int, names: Sequence[str], rounds: int) -> list[Record]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if set(names) & set(notebooks.READY):
            for number in range(rounds):
                s = mv.Scenario(source="normal", query_len=length, num_heads=apps.HEADS, mask="full", seed=number)
                np.save(folder / f"weights-{number}.npy", bare_weights(s).numpy())
        return [_one(browser, name, folder, length, rounds) for name in names]


def _one(browser: Browser, name: str, folder: Path, length: int, rounds: int) -> Record:
    try:
        if name in paint.SCRIPTS:
            found = apps.measured(browser, name, length, rounds)
        else:
            found = notebooks.measured(browser, name, folder, length, rounds)
    except (Stopped, Error) as error:
        reason = "page crashed" if "Target crashed" in str(error) else str(error).splitlines()[0][:120]
        found = Record(name, length, stopped=reason)
    print(report.line(found), flush=True)
    return found
