"""Explore with a sequence too long for its weights to be held: at once, in a job, cancelled, failing, and opened."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from mha_viz.attention.streamed import Stopped, streamed
from mha_viz.figures import long_heads
from mha_viz.figures.long_heads import HeadPicture
from mha_viz.scenario import Scenario
from mha_viz.ui import (
    cached,
    jobs,
    long_panels,
    long_progress,
    long_results,
    long_share,
    origin,
    state,
    threads,
    waiting,
)
from mha_viz.ui.long_results import PICTURES, STATISTICS, Layer
from mha_viz.ui.view import View
from tests.ui.test_pages import opened, said, url  # noqa: F401  (a fixture)
from tests.ui.test_turns import wait_until

Open = Callable[..., AppTest]
LONG = "source=normal&query_len=8192&num_heads=2&embed_dim=16"
CANCEL, COMPUTE = "w:cancel:pictures", "w:compute:pictures"


def scenario(seed: int) -> Scenario:
    return Scenario(source="normal", query_len=8_192, num_heads=2, embed_dim=16, seed=seed)


def layer(seed: int) -> Layer:
    s = scenario(seed)
    found = cached.shown(s).layers[0].streamed
    assert found is not None
    return Layer(origin.key(s), found, 0)


def keys(app: AppTest) -> list[str | None]:
    return [button.key for button in app.main.button]


def html(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.main.get("html"))


class Gate:
    """Stands before the pass over each head, so that a job is caught in the middle."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self._picture = long_heads.picture
        monkeypatch.setattr(long_heads, "picture", self._pass)
        monkeypatch.setattr(long_results, "AT_ONCE", 0)

    def _pass(self, *args: object, stop: Callable[[], bool], progress: Callable[[float], None]) -> HeadPicture:
        progress(0.5)
        while not self.open.wait(0.01):
            if stop():
                raise Stopped
        return self._picture(*args, stop=stop, progress=progress)  # type: ignore[arg-type]


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def job_of(seed: int, kind: long_results.Kind[HeadPicture] = PICTURES) -> jobs.Job:
    found = jobs.of_server().find(kind.job(layer(seed)))
    assert found is not None
    return found


def test_a_long_sequence_opens_without_its_matrix(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=1")
    assert not app.exception
    assert not app.error
    assert "weights [1, 2, 8192, 8192] · cpu float32 · 537 MB if it were held; computed in blocks, never held" in said(
        app
    )
    assert "Each cell shows the largest of 16 × 16 weights." in said(app)
    assert "0 of 16,384 rows are NaN" in said(app)
    assert CANCEL not in keys(app)


def test_nobody_waits_for_a_long_picture_that_is_drawn(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    held: list[bool] = []
    pictures = long_panels.pictures

    def drawn(*args: Any) -> None:
        held.append(threads._line.locked())
        pictures(*args)

    monkeypatch.setattr(long_panels, "pictures", drawn)
    opened(LONG)
    assert held == [False]


def test_a_job_shows_how_far_it_is_and_can_be_cancelled_and_taken_up(opened: Open, gate: Gate) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=2")
    assert not app.exception
    assert CANCEL in keys(app)
    assert "weights [1, 2, 8192, 8192]" in said(app)
    app.button(key=CANCEL).click().run()
    wait_until(lambda: not job_of(2).running)
    assert [info.value for info in app.info] == ["Cancelled: 0 of 2 heads are computed."]
    assert CANCEL not in keys(app)

    gate.open.set()
    app.button(key=COMPUTE).click().run()
    wait_until(lambda: not job_of(2).running)
    app.run()
    assert None not in PICTURES.known(layer(2))
    assert not app.info
    assert not {CANCEL, COMPUTE} & set(keys(app))
    assert "the average over heads" in said(app)


def test_of_a_job_that_is_over_soon_only_the_result_is_drawn(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(long_results, "AT_ONCE", 0)
    monkeypatch.setattr(long_progress, "SOON", 60.0)  # on any machine
    monkeypatch.setattr(jobs, "FIRST", 60.0)
    drawn: list[int] = []
    pictures = long_panels.pictures

    def counted(*args: Any) -> None:
        drawn.append(args[-1].count(None))
        pictures(*args)

    monkeypatch.setattr(long_panels, "pictures", counted)
    app = opened(f"{LONG}&seed=10")
    assert not app.exception
    assert drawn == [0]
    assert not job_of(10).running
    assert CANCEL not in keys(app)
    assert "0 of 16,384 rows are NaN" in said(app)


def test_a_newer_setting_need_not_wait_for_a_job(opened: Open, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr(jobs, "FIRST", 60.0)
    monkeypatch.setattr(waiting, "is_outdated", lambda: True)
    app = opened(f"{LONG}&seed=11")
    assert job_of(11).running
    assert CANCEL in keys(app)


def test_everybody_with_one_link_shares_the_job(opened: Open, gate: Gate) -> None:  # noqa: F811
    opened(f"{LONG}&seed=3")
    first = job_of(3)
    opened(f"{LONG}&seed=3")
    assert job_of(3) is first
    gate.open.set()
    wait_until(lambda: not first.running)


def test_what_goes_wrong_is_said_and_can_be_tried_again(
    opened: Open,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = long_heads.picture

    def fails(*args: object, **named: object) -> HeadPicture:
        raise MemoryError

    monkeypatch.setattr(long_results, "AT_ONCE", 0)
    monkeypatch.setattr(long_heads, "picture", fails)
    app = opened(f"{LONG}&seed=4")
    wait_until(lambda: not job_of(4).running)
    app.run()
    assert not app.exception
    assert "The server ran out of memory during this computation" in app.error[0].value
    monkeypatch.setattr(long_heads, "picture", picture)
    app.button(key=COMPUTE).click().run()
    wait_until(lambda: not job_of(4).running)
    app.run()
    assert not app.error
    assert "0 of 16,384 rows are NaN" in said(app)


@pytest.mark.parametrize("at_once", [2**40, 0])
def test_a_mask_that_cannot_be_computed_is_one_sentence(
    opened: Open,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    monkeypatch.setattr(long_results, "AT_ONCE", at_once)
    link = f"{LONG}&seed={90 + bool(at_once)}&mask={quote('(k // (q - 40) < 7)')}"
    app = opened(f"{link}&query=40&key=1")
    s = app.session_state[state.CHOSEN[Scenario]]
    wait_until(lambda: (job := jobs.of_server().find((PICTURES.name, origin.key(s), 0))) is None or not job.running)
    app.run()
    assert not app.exception
    sentence = "the right side of '//' must not be 0 anywhere, and is 0 somewhere for these sizes"
    assert [error.value for error in app.error] == [sentence]
    assert sentence in [caption.value for caption in app.caption]


def test_going_to_a_token_opens_its_exact_weight(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=5&mask=causal")
    app.number_input(key="w:goto:query").set_value(5_000)
    app.number_input(key="w:goto:key").set_value(17)
    next(button for button in app.button if button.label == "Go").click().run()
    assert not app.exception
    assert {"query=5000", "key=17"} <= set(url(app).split("&"))
    row = streamed(replace(scenario(5), mask="causal")).row(0, 5_000)
    assert f"<b>Head 0: query 5000 attends to key 17 with {float(row[17]):.4g}</b>" in html(app)
    ranked = [int(key) for key in row.topk(10).indices]
    rows = re.findall(r"<tr><td>(\d+)</td><td>([\d,]+)</td>", html(app))
    assert [int(key.replace(",", "")) for _, key in rows[:10]] == ranked


def test_one_number_goes_to_the_diagonal_and_a_shorter_sequence_forgets_it(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=5")
    app.number_input(key="w:goto:query").set_value(8_000)
    next(button for button in app.button if button.label == "Go").click().run()
    assert {"query=8000", "key=8000"} <= set(url(app).split("&"))
    app.session_state["group:Inputs"] = True
    app.run()
    app.number_input(key="w:query_len").set_value(7_500).run()
    assert not app.exception
    assert app.number_input(key="w:goto:query").value is None
    assert "attends to key" not in html(app)


def test_a_row_that_sees_nothing_is_told(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=6&mask=causal%20%26%20(q%20%3E%2010)&query=3&key=1")
    assert not app.exception
    assert "<b>Head 0: query 3 is NaN: every key is hidden from it</b>" in html(app)
    assert "22 of 16,384 rows are NaN" in said(app)


def test_another_kind_of_view_says_what_it_needs(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=1&show=lines")
    assert any("The view “lines” draws every token" in caption.value for caption in app.caption)
    assert not app.exception


def test_statistics_are_computed_when_they_are_opened(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=7&mask=causal")
    assert "entropy (bits)" not in html(app)
    app.session_state["group:statistics"] = True
    app.run()
    assert not app.exception
    expected = streamed(replace(scenario(7), mask="causal")).stats()
    assert all(f"<td>{head.entropy:.3g}</td>" in html(app) for head in expected.heads)
    assert any("50.0% masked · 0 of 16,384 rows NaN · row sums 1.000" in caption.value for caption in app.caption)


def test_statistics_that_take_long_are_asked_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=8")
    monkeypatch.setattr(long_results, "AT_ONCE", 0)
    app.session_state["group:statistics"] = True
    app.run()
    assert "entropy" not in html(app)
    app.button(key="w:compute:statistics").click().run()
    wait_until(lambda: not job_of(8, STATISTICS).running)  # type: ignore[arg-type]
    app.run()
    assert "entropy (bits)" in html(app)


def test_the_code_and_the_link_are_there(opened: Open) -> None:  # noqa: F811
    app = opened(f"{LONG}&seed=1")
    app.session_state["group:share"] = True
    app.run()
    assert not app.exception
    link, code = (element.value for element in app.main.code)
    assert "query_len=8192" in link
    compile(code, "shown", "exec")
    assert "layer.window(head=0, rows=slice(0, 256), cols=slice(0, 256), item=0)" in code


def test_files_hold_the_blocks_and_exact_weights() -> None:
    s = scenario(1)
    PICTURES.at_once(layer(1))
    view = View(query=8_100, key=4_000)
    overview = np.load(io.BytesIO(long_share.overview_npz(layer(1))))
    assert overview["largest"].shape == (2, *layer(1).blocks.shape)
    assert overview["heads"].tolist() == [0, 1]
    exact = np.load(io.BytesIO(long_share.exact_npz(cached.shown(s), view)))
    assert (exact["queries"][0], exact["queries"][-1], exact["keys"][0]) == (7_936, 8_191, 3_872)
    expected = streamed(s).windows(None, slice(7_936, 8_192), slice(3_872, 4_128))
    np.testing.assert_allclose(exact["weights"], expected.numpy(), atol=1e-7)
