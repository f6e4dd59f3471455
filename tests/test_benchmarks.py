"""The parts of the benchmarks run, at tiny sizes, and what they find lands in its place; no time is judged."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
import torch

from benchmarks import doctor, forward, gpu, limits, paint, plot, reach, table
from benchmarks.peers import NAMES, notebooks, report
from benchmarks.peers.record import Record
from mha_viz.attention.streamed import plan
from tests.browser import chromium

BEFORE = "# Benchmarks\n\nWords.\n\n<!-- part: reach -->\n\nold\n\n<!-- end -->\n\nMore words.\n"
RECORDS = [
    Record(paint.FLOOR, 16, 0.05, 1.0, 200_000_000, 100_000_000),
    Record(paint.APP, 16, 0.1, 2.0, 400_000_000, 300_000_000),
    Record("bertviz", 16, 0.4, 0.4, 300_000_000, 200_000_000),
    Record(paint.APP, 64, 0.2, 2.0, 400_000_000, 300_000_000),
    Record("bertviz", 64, stopped="page over 4 GB"),
]
uncompiled = pytest.mark.filterwarnings("ignore::UserWarning:torch")  # FlexAttention is meant to be compiled
FIGURES = [vars(record) for record in RECORDS]


@pytest.mark.parametrize("part", [forward.main, reach.main, doctor.main], ids=["forward", "reach", "doctor"])
def test_a_part_runs(part, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "MASKS", {"bool": doctor.MASKS["bool"]})  # each line takes a process of its own
    monkeypatch.setattr(doctor, "CALLS", {"check": doctor.CALLS["check"]})
    tiny = {forward.main: [(2, 4)], reach.main: [6], doctor.main: [24]}[part]
    (found,) = part(1, tiny).tables
    (row,) = found.rows
    assert len(row) == len(found.columns)
    assert row[0] in capsys.readouterr().out


def test_without_a_gpu_its_part_says_so_and_measures_nothing(monkeypatch, capsys) -> None:
    monkeypatch.setattr(gpu, "available", lambda: ("cpu",))
    assert gpu.main(1) is None
    assert "finds no CUDA device on this machine" in capsys.readouterr().out


@uncompiled
def test_the_part_of_the_gpu_runs_on_any_device(capsys: pytest.CaptureFixture[str]) -> None:
    measured = gpu.main(1, [130], "cpu")
    assert measured is not None
    found, pieces = measured.tables
    assert [row[0] for row in pieces.rows] == [f"{cut.queries:,} × {cut.keys:,}" for cut in plan.GPU]
    assert all(float(time.removesuffix(" ms")) > 0 for _, time in pieces.rows)
    assert [row[0] for row in found.rows] == ["130, full", "130, causal"]
    for row in found.rows:
        assert len(row) == len(found.columns)
        assert all(cell.endswith(" ms") for cell in row[1 : 1 + len(gpu.LINE)])
        assert list(row[-2:]) == ["–", "–"]  # only CUDA counts what it allocates
    assert "130, causal" in capsys.readouterr().out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="only CUDA counts what it allocates")
def test_on_a_gpu_the_memory_of_a_pass_is_counted() -> None:
    found = gpu.taken(partial(gpu.LINE[gpu.ROWS], 4_096, "causal", "cuda:0"), 1, "cuda:0")
    assert found is not None
    assert found[1] > 4_096 * 4


@uncompiled
@pytest.mark.parametrize("mask", gpu.MASKS)
def test_what_is_timed_on_a_gpu_finds_the_same(mask: str) -> None:
    _, lse = gpu.flex(200, mask, "cpu")()
    torch.testing.assert_close(gpu.normalisers(200, mask, "cpu")(), lse[0], atol=1e-5, rtol=0)
    outputs = []
    for weights in (True, False):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs.append(gpu.module(200, mask, "cpu", weights)()[0])
    torch.testing.assert_close(*outputs, atol=1e-5, rtol=0)


def test_what_does_not_fit_is_left_out() -> None:
    def full() -> object:
        raise torch.OutOfMemoryError

    assert gpu.taken(lambda: full, 1, "cpu") is None
    assert gpu.cells(dict.fromkeys(gpu.LINE)) == ["–"] * (len(gpu.LINE) + 3)


def test_a_part_has_its_own_place_and_other_text_stays() -> None:
    after = table.placed(BEFORE, "reach", r"new \1")
    assert after == BEFORE.replace("old", r"new \1")
    assert table.placed(BEFORE, "soak", "new").startswith(BEFORE.rstrip())
    assert table.placed(table.placed(BEFORE, "soak", "1"), "soak", "2") == table.placed(BEFORE, "soak", "2")


def test_what_is_kept_says_when_and_on_what(tmp_path) -> None:
    (tmp_path / table.TEXT).write_text(BEFORE, encoding="utf-8")
    rows = table.Table(["tokens", "time"], "Said above.", [("16", "1 s")])
    table.write("peers", table.Measured([rows], FIGURES, {"Chromium": "1.2.3"}), 0.25, tmp_path)
    text = (tmp_path / table.TEXT).read_text(encoding="utf-8")
    assert "| tokens | time |\n| --- | --- |\n| 16 | 1 s |" in text
    assert "Chromium 1.2.3. Load average 0.2 at the start" in text
    assert table.machine() in text
    table.write("reach", table.Measured([]), 0.0, tmp_path)
    assert table.figures(tmp_path)["peers"]["figures"] == FIGURES
    plot.main(tmp_path)
    assert (tmp_path / plot.IMAGE).read_text(encoding="utf-8") == plot.svg(FIGURES)


def test_the_plot_draws_everybody_and_marks_who_was_stopped() -> None:
    drawn = ElementTree.fromstring(plot.svg(FIGURES))
    texts = [node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {paint.APP, paint.FLOOR, "bertviz", "16", "64"} <= set(texts)
    crosses = [node for node in drawn.iter("{http://www.w3.org/2000/svg}path") if node.get("d") == plot.CROSS]
    assert len(crosses) == 2  # one in each panel
    assert set(plot.LOOKS) == set(NAMES)


def test_the_tables_of_the_peers_give_ratios_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    change, opening, memory, stopped = report.tables(RECORDS, [paint.FLOOR, paint.APP, "bertviz"], rounds=1)
    assert change.rows == [
        ("16", "50 ms", "100 ms", "400 ms", "2.00", "4.0"),
        ("64", "–", "200 ms", "stopped", "–", "–"),
    ]
    assert opening.rows[0] == ("16", "1.0 s", "2.0 s", "400 ms")
    assert memory.rows[1][2] == "400 + 300"
    assert stopped.rows == [("bertviz", "64", "page over 4 GB")]
    assert "page over 4 GB" in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "said"), [("BYTES", "sleeper over 0 GB"), ("SECONDS", "sleeper over 0 s")])
def test_a_process_over_a_limit_is_ended(monkeypatch: pytest.MonkeyPatch, limit: str, said: str) -> None:
    monkeypatch.setattr(limits, limit, 0.01)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper:
        process = psutil.Process(sleeper.pid)
        with pytest.raises(limits.Stopped, match=said), limits.Guard("sleeper", lambda: [process], clock=True):
            wait_and_fail(sleeper)


def wait_and_fail(child: subprocess.Popen[bytes]) -> None:
    child.wait(timeout=30)
    raise OSError("what the end of the process led to")


def test_missing_peers_are_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(notebooks, "PYTHON", tmp_path / "none")
    with pytest.raises(limits.Stopped, match=r"not installed: `make \.venv-bench/\.stamp`"):
        notebooks.called("treescope", tmp_path, 1)
    assert report.versions(tmp_path / "none", ["treescope"]) == {}


@pytest.mark.skipif(not notebooks.PYTHON.exists(), reason="no .venv-bench: `make .venv-bench/.stamp`")
def test_a_peer_makes_its_page_of_the_weights(tmp_path) -> None:
    np.save(tmp_path / "weights-0.npy", np.full((1, 2, 5, 5), 0.2, dtype=np.float32))
    seconds, held = notebooks.called("treescope", tmp_path, 1)
    assert len(seconds) == 1
    assert held > 0
    assert "<treescope-container" in (tmp_path / "treescope-0.html").read_text(encoding="utf-8")


PAGES = """
from benchmarks import first_load, paint, peers
from benchmarks.opening import chromium_browser
print(peers.main([8], [paint.FLOOR], rounds=1).figures)
with chromium_browser() as browser, paint.serving(paint.SCRIPTS[paint.APP]) as served:
    print(*first_load.cold_and_warm(browser, served.url, paint.READY[paint.APP]), sep="\\n")
"""


@pytest.mark.browser
@pytest.mark.skipif(chromium.find() is None, reason=chromium.HELP)
def test_pages_are_opened_changed_and_counted() -> None:
    # In a process of its own: Playwright runs only once in a process, and the browser tests may have it already.
    done = subprocess.run([sys.executable, "-c", PAGES], capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stderr
    *_, figures, cold, warm = done.stdout.splitlines()
    assert f"'name': '{paint.FLOOR}', 'length': 8" in figures
    assert "'stopped': ''" in figures
    assert cold.startswith("Load(seconds=")
    fetched = [int(line.partition("fetched=")[2].partition(",")[0]) for line in (cold, warm)]
    assert fetched[0] > 10 * fetched[1]
