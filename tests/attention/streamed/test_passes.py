"""How a pass runs: its threads, its memory, what it costs, how it is stopped."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.doctor import memory
from mha_viz import masks
from mha_viz.attention.device import available
from mha_viz.attention.peak import _Ledger
from mha_viz.attention.streamed import Stopped, StreamedAttention, plan, workers
from mha_viz.attention.streamed.plan import Cut, Tile, blocks_of_queries, pieces, tiles
from mha_viz.attention.streamed.sight import ALL, NONE, SOME, Sight
from mha_viz.attention.streamed.sweep import Sweep, blank
from mha_viz.errors import MhaVizError


def operands(length: int, heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(1, heads, length, 16, generator=draw) for _ in range(3))
    return q, k, v


@pytest.mark.parametrize(
    ("length", "group", "most"),
    [(0, 1, 512), (1, 1, 512), (4_096, 12, 1_024), (4_097, 9, 512), (75_000, 147, 64), (1_000, 256, 16)],
)
def test_blocks_of_queries_cover_all_and_share_no_line_by_halves(length: int, group: int, most: int) -> None:
    blocks = blocks_of_queries(length, group, most)
    assert [row for start, stop in blocks for row in range(start, stop)] == list(range(length))
    assert max((stop - start for start, stop in blocks), default=0) <= most
    for start, stop in blocks:
        inside = start // group == (stop - 1) // group
        assert inside or (start % group == 0 and (stop % group == 0 or stop == length))


def test_no_block_of_queries_is_much_smaller_than_the_others() -> None:
    assert blocks_of_queries(4_096, 12, 1_024) == [
        (0, 828),
        (828, 1_656),
        (1_656, 2_484),
        (2_484, 3_312),
        (3_312, 4_096),
    ]


@pytest.mark.parametrize("length", [2_049, 4_096, 5_000, 16_384, 65_536])
@pytest.mark.parametrize("group", [8, 12, 16, 64, 256])
def test_blocks_of_queries_have_no_number_of_rows_that_is_avoided(length: int, group: int) -> None:
    blocks = blocks_of_queries(length, group, 2_048, 1_024)
    assert [row for start, stop in blocks for row in range(start, stop)] == list(range(length))
    assert all((stop - start) % 1_024 and start % group == 0 for start, stop in blocks[:-1])
    assert blocks_of_queries(2_048, 8, 2_048, 1_024) == [(0, 2_048)], "all there are"
    assert blocks_of_queries(4_096, 1_024, 2_304, 1_024) == [(0, 2_048), (2_048, 4_096)], "a group more would not help"


@pytest.mark.parametrize("cut", [plan.CPU, plan.CPU_WHOLE, *plan.GPU], ids=str)
@pytest.mark.parametrize(("threads", "most"), [(1, 2_304), (2, 2_304), (8, 2_048), (16, 1_024), (1_024, 512)])
def test_many_threads_hold_blocks_of_fewer_queries(cut: Cut, threads: int, most: int) -> None:
    assert cut.for_threads(threads) == replace(cut, queries=min(cut.queries, most))


@pytest.mark.parametrize("cut", [plan.CPU, plan.CPU_WHOLE, *plan.GPU], ids=str)
@pytest.mark.parametrize("keys", [100, 4_096, 65_536, 131_072])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_blocks_for_statistics_fit_and_their_tiles_have_as_many_cells_as_others(
    cut: Cut, keys: int, threads: int
) -> None:
    found = cut.for_statistics(keys, threads)
    assert found.queries == 16 or threads * found.queries * keys <= cut.held
    assert cut.queries * cut.keys - found.queries < found.queries * found.keys <= cut.queries * cut.keys


def test_a_block_is_cut_into_pieces_only_where_it_must_be() -> None:
    assert pieces((506, 700), 11, 194) == [(506, 700)]
    assert pieces((506, 700), 11, 100) == [(506, 605), (605, 700)]
    assert pieces((512, 768), 1_024, 100) == [(512, 598), (598, 684), (684, 768)]
    assert pieces((3, 5), 1, 0) == [(3, 4), (4, 5)]


@pytest.mark.parametrize("rows", [False, True])
def test_masks_that_are_held_are_bounded_and_change_nothing(monkeypatch: pytest.MonkeyPatch, rows: bool) -> None:
    q, k, _ = operands(1_300)
    whole, cut = (StreamedAttention(q, k, mask="q * k % 7 != 0", threads=1) for _ in range(2))
    whole.prepare(rows=rows)
    monkeypatch.setattr(plan, "CPU", replace(plan.CPU, masks=40 * 1_300))
    cut.prepare(rows=rows)
    for pool in ("max", "mean"):
        torch.testing.assert_close(cut.overview(1, pool=pool), whole.overview(1, pool=pool), atol=1e-6, rtol=0)
    with _Ledger() as ledger:
        StreamedAttention(q, k, mask="q * k % 7 != 0", threads=1).region([0], slice(None), slice(None), side=13)
    assert ledger.peak < 3e6


def test_tiles_leave_out_what_is_masked_and_say_where_to_look() -> None:
    edges = [0, 10, 20, 30, 40, 50, 55]
    assert tiles([NONE, ALL, SOME, SOME, NONE, ALL], edges, 30) == (Tile(10, 40, ((20, 40),)), Tile(50, 55, ()))
    assert tiles([ALL] * 6, edges, 25) == (Tile(0, 20, ()), Tile(20, 40, ()), Tile(40, 55, ()))
    assert tiles([NONE] * 6, edges, 25) == ()


def test_a_block_for_statistics_shrinks_with_the_keys_and_the_threads() -> None:
    cut = Cut(queries=512, keys=2_048, held=2**24, masks=2**24, evaluated=2**16)
    assert cut.for_statistics(4_096, 2).queries == 512
    assert cut.for_statistics(65_536, 2).queries == 128
    assert cut.for_statistics(131_072, 64).queries == 16


@pytest.mark.parametrize("rows", [False, True])
def test_no_tensor_comes_near_the_size_of_the_matrix(rows: bool) -> None:
    length = 12_000
    q, k, v = operands(length, heads=1)
    w = StreamedAttention(q, k, v, mask="causal & window(3000)", threads=1)  # in this thread, where it is counted
    with _Ledger() as ledger:
        w.prepare(rows=rows, output=rows)
        w.window(0, slice(0, 512), slice(0, 512))
        w.row(0, 7)
    assert 2**20 < ledger.peak < 120e6 < length * length * 4 / 4


def growth() -> int:
    """Return by how many bytes a process grows in a pass of few queries and many keys."""
    q, k = (torch.randn(1, 2, length, 64) for length in (2_048, 65_536))
    StreamedAttention(q[:, :, :512], k[:, :, :512], threads=2).prepare()
    w = StreamedAttention(q, k, threads=2)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the most it held is now what it holds
    w.prepare()
    return memory("VmHWM") - before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process held at most")
def test_the_memory_of_one_tile_serves_the_next() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        assert process.submit(growth).result() < 60 * 2**20


def test_wholly_masked_blocks_cost_nothing() -> None:
    q, k, _ = operands(4_096, heads=1)

    def products(text: str) -> int:
        cells = 0

        class Count(_Ledger):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
                nonlocal cells
                found = func(*args, **(kwargs or {}))
                if str(func) in {"aten.mm.default", "mkldnn._linear_pointwise.default"}:
                    cells += found.numel()
                return found

        with Count():
            StreamedAttention(q, k, mask=text, threads=1).prepare()
        return cells

    assert products("full") == 4_096 * 4_096
    assert products("causal") < 0.57 * 4_096 * 4_096
    assert products("window(10)") < 0.2 * 4_096 * 4_096
    assert products("k < 0") == 0


@pytest.mark.parametrize("places", [1, 3, 1_000])
def test_calls_cover_each_head_of_each_span_once_and_are_enough_for_all_places(places: int) -> None:
    w = StreamedAttention(*operands(9_000, heads=3))
    into = {head: blank(w._operands, 512, rows=False, output=False) for head in range(3)}
    sweep = Sweep(w._operands, 0, 512, into, plan.CPU)
    spans = len(sweep.spans())
    calls = sweep.calls(places)
    assert [(call.span, head) for call in calls for head in call.heads] == [(s, h) for s in range(spans) for h in into]
    assert len(calls) >= min(spans * 3, 4 * places)
    assert len(calls) == spans * (1 if places < 4 else 3)
    assert all(len(call.heads) <= 2 for call in sweep.calls(places, most=2))


@pytest.mark.parametrize(
    ("mask", "lengths", "heads", "expected"),
    [
        ("full", None, [0, 1], True),
        ("full", (900, 1_000), [0], False),
        ("causal", None, [0], False),
        ("k >= 0", None, [0, 1], True),
        ("h < 1", None, [0], True),
        ("h < 1", None, [0, 1], False),
    ],
)
def test_it_is_known_without_a_look_at_each_cell_that_a_mask_hides_nothing(
    mask: str, lengths: tuple[int, ...] | None, heads: list[int], expected: bool
) -> None:
    sight = Sight(masks.mask(mask), None, lengths, (2, 2, 1_000, 1_000), 1)
    assert sight.hides_nothing(0, heads) is expected


def test_a_pass_has_as_many_threads_as_torch_unless_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MHA_VIZ_THREADS", raising=False)
    assert workers.count() == torch.get_num_threads() <= workers.MOST
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert workers.count() == workers.MOST
    monkeypatch.setenv("MHA_VIZ_THREADS", "7")
    q, k, _ = operands(10)
    assert StreamedAttention(q, k)._workers == 7
    assert StreamedAttention(q, k, threads=3)._workers == 3
    monkeypatch.setenv("MHA_VIZ_THREADS", "0")
    with pytest.raises(MhaVizError, match=r"^MHA_VIZ_THREADS must be a number from 1 to 1,024, not '0'\.$"):
        workers.count()


@pytest.mark.parametrize("rows", [False, True])
def test_results_are_the_same_to_the_bit_however_many_threads(rows: bool) -> None:
    q, k, v = operands(3_000)
    one, two, three = (StreamedAttention(q, k, v, mask="causal", threads=1 + i // 2) for i in range(3))
    for w in (one, two, three):
        w.prepare(rows=rows)
    for w in (two, three):
        assert torch.equal(one.overview(1), w.overview(1))
        assert torch.equal(one.overview(1, pool="mean"), w.overview(1, pool="mean"))
    if rows:
        for a, b in zip(two.stats().rows[0].tensors, three.stats().rows[0].tensors, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_pass_stops_soon_and_leaves_the_object_usable(threads: int) -> None:
    q, k, v = operands(8_000)
    w = StreamedAttention(q, k, v, threads=threads)
    heard: list[float] = []
    with pytest.raises(Stopped):
        w.prepare(progress=heard.append, stop=lambda: bool(heard))
    assert heard[-1] < 1.0
    with pytest.raises(Stopped):
        w.stats(stop=lambda: True)
    rows = slice(10, 40)
    expected = torch.softmax(q[0, 0, rows] @ k[0, 0].T / 4, -1)
    torch.testing.assert_close(w.window(0, rows, slice(None)), expected, atol=1e-6, rtol=0)
    w.prepare([0])
    torch.testing.assert_close(w.window(0, rows, slice(None)), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_rises_to_one_in_the_callers_thread(threads: int) -> None:
    q, k, _ = operands(3_000)
    heard: list[tuple[float, int]] = []
    w = StreamedAttention(q, k, threads=threads)
    w.prepare(progress=lambda share: heard.append((share, threading.get_ident())))
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1.0
    assert {thread for _, thread in heard} == {threading.get_ident()}


def test_what_was_found_is_not_computed_again_and_room_is_bounded() -> None:
    q, k, _ = operands(1_000)
    calls: list[float] = []
    w = StreamedAttention(q, k)
    w.prepare(progress=calls.append)
    first = len(calls)
    w.overview(1, progress=calls.append)
    w.overview(0, pool="mean", progress=calls.append)
    assert len(calls) == first
    w.stats(progress=calls.append)
    assert len(calls) > first
    small = StreamedAttention(q, k, limit_mb=2.5)  # room for one head, not for two
    small.prepare()
    one = small.overview(0)
    assert torch.equal(one, w.overview(0))
    assert 0 < small._passes.nbytes <= 2.5 * 2**20


def test_several_people_may_look_at_once() -> None:
    q, k, v = operands(1_500)
    w = StreamedAttention(q, k, v)
    found: list[Tensor] = []

    def look(head: int) -> None:
        found.append(w.overview(head) if head else w.stats().rows[0].entropy)

    people = [threading.Thread(target=look, args=(i % 2,)) for i in range(6)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert len(found) == 6


def test_a_pass_leaves_torchs_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    q, k, _ = operands(500)
    StreamedAttention(q, k, threads=3).prepare()
    seen: list[int] = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert [torch.get_num_threads(), *seen] == [before, before]


GPUS = [device for device in available() if device != "cpu"]


@pytest.mark.gpu
@pytest.mark.skipif(not GPUS, reason="no GPU on this machine")
def test_a_gpu_finds_the_same() -> None:
    q, k, v = operands(3_000)
    here = StreamedAttention(q, k, v, mask="causal & ~cells(5, 0, 3)").stats(output=True)
    there = StreamedAttention(*(x.to(GPUS[0]) for x in (q, k, v)), mask="causal & ~cells(5, 0, 3)").stats(output=True)
    for a, b in zip(here.rows, there.rows, strict=True):
        torch.testing.assert_close(a.entropy, b.entropy.cpu(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a.output, b.output.cpu(), atol=1e-5, rtol=1e-4)


def test_what_hears_of_the_progress_of_a_pass_may_ask_for_another() -> None:
    q, k, _ = operands(300)
    w, alone = StreamedAttention(q, k, threads=1), StreamedAttention(q, k, threads=1)
    heard: list[Tensor] = []

    def ask(share: float) -> None:
        heard.append(w.overview(1))

    asking = threading.Thread(target=w.prepare, args=([0],), kwargs={"progress": ask}, daemon=True)
    asking.start()
    asking.join(30)
    assert torch.equal(heard[-1], alone.overview(1))
    assert torch.equal(w.overview(0), alone.overview(0))
