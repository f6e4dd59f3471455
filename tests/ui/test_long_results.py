"""What a page finds of a long sequence by itself: all heads in one pass, while other pages go first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mha_viz import Scenario
from mha_viz.attention.streamed import StreamedAttention, streamed
from mha_viz.attention.streamed.signals import never, unheard
from mha_viz.figures import long_heads
from mha_viz.remember import forget
from mha_viz.ui import long_panels, threads
from mha_viz.ui.long_results import PICTURES, STATISTICS, Kind, Layer

S = Scenario(source="normal", query_len=900, num_heads=4, embed_dim=16, mask="causal")


@pytest.fixture
def layer() -> Iterator[Layer]:
    forget()
    yield Layer("results", streamed(S), 0)
    forget()


@pytest.mark.parametrize("kind", [PICTURES, STATISTICS], ids=lambda kind: kind.name)
def test_all_heads_are_found_in_one_pass(kind: Kind[object], layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[list[int]] = []
    passed = StreamedAttention._passed
    monkeypatch.setattr(
        StreamedAttention, "_passed", lambda self, heads, **named: passes.append(heads) or passed(self, heads, **named)
    )
    assert kind.known(layer) == [None] * 4
    found = kind.at_once(layer)
    assert passes == [[0, 1, 2, 3]]
    assert kind.known(layer) == found
    kind.at_once(layer)
    assert len(passes) == 1


def test_only_heads_that_are_not_known_are_passed_over(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    known = PICTURES.one(layer, 2, never, unheard)
    asked: list[list[int]] = []
    prepare = StreamedAttention.prepare

    def prepared(self: StreamedAttention, heads: list[int], **named: object) -> None:
        asked.append(heads)
        prepare(self, heads, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(StreamedAttention, "prepare", prepared)
    assert PICTURES.at_once(layer)[2] is known
    assert asked[0] == [0, 1, 3]


def test_what_is_found_at_once_is_what_each_head_has_alone(layer: Layer) -> None:
    alone = streamed(S)
    for head, found in enumerate(PICTURES.at_once(layer)):
        one = long_heads.picture(alone, layer.blocks, 0, head)
        assert (found.largest == one.largest).all()
        assert (found.mean == one.mean).all()
        assert found.codes is not None
        assert (found.codes == one.codes).all()


def test_who_looks_at_the_same_sequence_gets_the_same_picture_and_others_their_own(layer: Layer) -> None:
    found, names = PICTURES.at_once(layer), ("a", "b", "c", "d")
    of = long_panels._grid, long_panels._detail
    again = Layer("results", layer.streamed, 0)
    assert of[0](again, found, names, "log") is of[0](layer, list(found), names, "log")
    assert of[1](again, found, names, "log", 1) is of[1](layer, found, names, "log", 1)
    partly = [None, *found[1:]]
    other = Layer("another", layer.streamed, 0)
    grids = [of[0](layer, found, names, "log"), of[0](layer, found, names, "shared"), of[0](other, found, names, "log")]
    grids.append(of[0](layer, partly, names, "log"))
    assert len({id(grid) for grid in grids}) == 4
    assert of[1](layer, found, names, "log", 2) is not of[1](layer, found, names, "log", 1)


def test_other_pages_are_drawn_first(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "POLITENESS", 20.0)
    drawing, end = threading.Event(), threading.Event()

    def page() -> None:
        with threads.in_line():
            drawing.set()
            end.wait(20.0)

    other = threading.Thread(target=page, daemon=True)
    other.start()
    assert drawing.wait(20.0)
    asked = time.monotonic()
    threading.Timer(0.3, end.set).start()
    PICTURES.at_once(layer)
    assert time.monotonic() - asked >= 0.3
    other.join(20.0)
