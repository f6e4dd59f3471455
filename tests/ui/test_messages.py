"""Bytes of figures that several people look at: made once, and never those of another figure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import pytest

from mha_viz.ui import finer, messages, values, wire
from mha_viz.ui.finer import Finer
from tests.ui.test_plot import decoded, panel, spec


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    messages.forget()
    yield
    messages.forget()


def figure(value: float, side: int = 4) -> dict[str, Any]:
    return spec(panel(np.full((side, side), value, dtype="f4")))


@pytest.mark.parametrize(
    "shown", [{}, {"alt": "a", "heading": "h", "lines": ("one", "two")}, {"selected": (0, 1, 2), "filename": "f"}]
)
def test_the_bytes_are_those_of_the_figure(shown: dict[str, Hashable]) -> None:
    ours = figure(0.5)
    assert messages.of(ours, **shown) == wire.encode(ours, **shown)  # type: ignore[arg-type]


def test_who_looks_in_the_same_way_gets_the_same_bytes_and_others_their_own() -> None:
    ours = figure(0.5)
    first = messages.of(ours, selected=(0, 1, 2))
    assert messages.of(ours, selected=(0, 1, 2)) is first
    assert messages.of(ours, selected=(0, 2, 1)) != first


def test_finer_cells_of_the_same_picture_are_the_same_and_are_found_again_after_forgetting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(finer, "sources", finer.Sources())
    ours = figure(0.5)

    def of(key: str) -> bytes:
        return messages.of(ours, finer=Finer(8, 8, 2, lambda rows, columns, side: [], key))

    first = of("a")
    assert of("a") is first
    assert of("b") != first
    token = decoded(first)[0]["frame"]["finer"]
    assert finer.sources.get(token) is not None
    finer.sources.clear()
    of("a")
    assert finer.sources.get(token) is None
    messages.forget()
    of("a")
    assert finer.sources.get(token) is not None


def test_a_figure_in_the_place_of_another_is_not_taken_for_it() -> None:
    for value in np.linspace(0, 1, 200):
        header, body = decoded(messages.of(figure(float(value))))
        offset, size = header["frame"]["panels"][0]["values"]
        assert np.frombuffer(body[offset : offset + size], "<f4").tolist() == [np.float32(value)] * 16


def test_values_that_are_gone_from_the_server_are_there_again_after_forgetting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "store", values.ValueStore())
    monkeypatch.setattr(values, "serving", lambda: True)
    large = figure(0.5, side=600)

    def digest() -> str:
        header, _ = decoded(messages.of(large))
        return str(header["frame"]["panels"][0]["values"])

    assert values.store.get(digest()) is not None
    values.store.clear()
    assert values.store.get(digest()) is None
    messages.forget()
    assert values.store.get(digest()) is not None
