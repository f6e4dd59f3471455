from __future__ import annotations

import asyncio
import json
import threading

import numpy as np
import pytest
from starlette.applications import Starlette

from mha_viz.errors import InputError
from mha_viz.ui import finer, finer_route, idle, plot, values, wire
from mha_viz.ui.finer import Cells, Finer
from tests.coroutines import completed

LENGTH, KEYS, SIDE = 50, 70, 8
RNG = np.random.default_rng(0)
WEIGHTS = RNG.random((2, LENGTH, KEYS), dtype=np.float32)
CODES = RNG.integers(0, 6, (LENGTH, KEYS)).astype(np.uint8)
WEIGHTS[:, CODES == 4] = np.nan


def blocks(array, rows, columns, side, pool):
    """Pool block by block, in a loop."""
    starts = [range(part.start, part.stop, side) for part in (rows, columns)]
    ends = [min(part.stop, n) for part, n in zip((rows, columns), array.shape, strict=True)]
    cut = [[array[r : min(r + side, ends[0]), c : min(c + side, ends[1])] for c in starts[1]] for r in starts[0]]
    return np.array([[pool(block) for block in line] for line in cut], dtype=array.dtype)


def largest(block):
    return np.fmax.reduce(block, axis=None)


def read(rows, columns, side):
    codes = blocks(CODES, rows, columns, side, np.max)
    found = [blocks(head, rows, columns, side, largest) for head in WEIGHTS]
    return [Cells(found[0], found[0], codes), Cells(found[1] / 2, found[1], codes)]


def source(key="a", **more):
    return Finer(**{"rows": LENGTH, "columns": KEYS, "side": SIDE, "read": read, "key": key, **more})


def figure(finer_, **about):
    z = np.ones(finer_.shape, dtype=np.float32)
    axes = [{"xaxis": "x", "yaxis": "y"}, {"xaxis": "x2", "yaxis": "y2"}]
    data = [{"type": "heatmap", "z": z, "zmin": 0, "zmax": p + 1, "meta": {"layer": "weights"}} for p in range(2)]
    meta = {"panels": [axes[0] | about, axes[1]], "query_tokens": ["0 … 7"] * len(z), "pool": SIDE}
    return {"data": [trace | on for trace, on in zip(data, axes, strict=True)], "layout": {"meta": meta}}


def opened(data):
    length = int.from_bytes(data[:4], "little")
    return json.loads(data[4 : 4 + length]), data[4 + length :]


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    """A store of this test's own."""
    found = finer.Sources()
    monkeypatch.setattr(finer, "sources", found)
    return found


class TestSources:
    def test_the_same_picture_has_the_same_token_and_any_other_another(self, sources):
        tokens = {sources.put(source(), [(0, 1)]) for _ in range(3)}
        assert len(tokens) == 1
        for other in (source("b"), source(rows=49), source(columns=69), source(side=4)):
            tokens.add(sources.put(other, [(0, 1)]))
        tokens.add(sources.put(source(), [(0, 2)]))
        assert len(tokens) == len(sources) == 6

    def test_the_latest_source_of_a_picture_is_asked(self, sources):
        first, second = source(), source()
        token = sources.put(first, [(0, 1)])
        assert sources.put(second, [(0, 1)]) == token
        assert sources.get(token).finer is second

    def test_least_recently_used_sources_go_first(self):
        store = finer.Sources(most=2)
        first, second = (store.put(source(key), [(0, 1)]) for key in "ab")
        assert store.get(first) is not None
        third = store.put(source("c"), [(0, 1)])
        assert [store.get(token) is not None for token in (first, second, third)] == [True, False, True]

    def test_tokens_of_two_processes_differ(self):
        assert finer.Sources().put(source(), [(0, 1)]) != finer.Sources().put(source(), [(0, 1)])

    def test_clear_drops_everything(self, sources):
        token = sources.put(source(), [(0, 1)])
        sources.clear()
        assert (sources.get(token), len(sources)) == (None, 0)

    def test_when_nobody_is_there_everything_is_dropped(self, sources):
        sources.put(source(), [(0, 1)])
        idle.release()
        assert len(sources) == 0

    def test_threads_never_keep_more_than_there_is_room_for(self):
        store = finer.Sources(most=5)
        kept = [source(str(i)) for i in range(40)]
        wrong = []

        def work(offset):
            for i in range(200):
                mine = kept[(i * 7 + offset) % 40]
                found = store.get(store.put(mine, [(0, 1)]))
                if (found is not None and found.finer is not mine) or len(store) > 6:
                    wrong.append(i)

        threads = [threading.Thread(target=work, args=(11 * n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert len(store) == 5


class TestNames:
    numbers = tuple(str(i) for i in range(LENGTH))
    told = ("a", *numbers)

    def test_those_that_are_only_numbers_are_none(self):
        found = source(query_tokens=self.numbers)
        assert (found.named, found.sent) == ((False, False), ((), ()))

    def test_few_travel_with_the_figure(self):
        found = source(query_tokens=self.numbers, key_tokens=self.told)
        assert (found.named, found.sent) == ((False, False), ((), self.told))
        header, _ = opened(wire.encode(figure(found), finer=found))
        assert (header["figure"]["queries"], header["figure"]["keys"]) == ([], list(self.told))

    def test_many_come_with_the_cells_that_they_name(self, monkeypatch):
        monkeypatch.setattr(finer, "FEW", LENGTH)
        found = source(query_tokens=self.numbers, key_tokens=self.told)
        assert (found.named, found.sent) == ((False, True), ((), ()))


def test_sources_of_one_picture_are_equal_and_those_of_others_are_not():
    assert source() == source()
    assert len({source(), source(), source("b"), source(side=4), source(rows=49)}) == 4
    assert source() != "a"


class TestEncode:
    def test_rows_and_columns_are_those_of_the_whole_and_labels_of_blocks_are_not_sent(self):
        header, _ = opened(wire.encode(figure(source()), finer=source()))
        panel = header["figure"]["panels"][0]
        assert (panel["rows"], panel["columns"], panel["side"], panel["pool"]) == (LENGTH, KEYS, SIDE, 1)
        assert header["figure"]["queries"] == []
        assert header["figure"]["named"] == [False, False]

    def test_the_frame_has_the_token_of_the_picture_and_its_colour_ranges(self, sources):
        header, _ = opened(wire.encode(figure(source()), finer=source()))
        found = sources.get(header["frame"]["finer"])
        assert found.ranges == ((0.0, 1.0), (0.0, 2.0))

    def test_a_figure_without_finer_cells_is_its_own_whole(self, sources):
        header, _ = opened(wire.encode(figure(source())))
        panel = header["figure"]["panels"][0]
        assert (panel["rows"], panel["columns"], panel["side"], panel["pool"]) == (7, 9, 1, SIDE)
        assert header["frame"]["finer"] is None
        assert len(sources) == 0

    def test_where_to_go_travels_in_the_frame(self):
        header, _ = opened(wire.encode(figure(source()), finer=source(), goto=(49, 3, 1)))
        assert header["frame"]["goto"] == [49, 3, 1]

    def test_a_pending_panel_sends_no_cells_and_changes_no_figure(self):
        whole, _ = opened(wire.encode(figure(source()), finer=source()))
        header, body = opened(wire.encode(figure(source(), pending=True), finer=source()))
        assert header["frame"]["panels"][0] == {"zmin": 0.0, "zmax": 1.0, "pending": True}
        assert header["frame"]["panels"][1]["pending"] is False
        assert header["figure"] == whole["figure"]
        assert len(body) == 64 + 7 * 9 * 4 + 4  # 63 indices and 63 floats, each padded to a multiple of 8

    def test_a_panel_may_say_that_its_blocks_show_means(self):
        header, _ = opened(wire.encode(figure(source(), pooling="mean"), finer=source()))
        assert [panel["pooling"] for panel in header["figure"]["panels"]] == ["mean", "largest"]

    def test_panels_that_are_other_blocks_are_refused(self):
        with pytest.raises(ValueError, match=r"panels with finer cells must have \(13, 18\) blocks, not \(7, 9\)\."):
            wire.encode(figure(source()), finer=source(side=4))


class Client:
    """GET requests to the route, one or many at a time, without a server."""

    def __init__(self, at_once=2):
        self.app = Starlette(routes=[finer_route.FinerRoute(at_once).route()])

    async def get(self, token, query, gone=False):
        messages = []
        scope = {"type": "http", "method": "GET", "path": f"/mha-viz/finer/{token}", "root_path": "", "headers": []}
        scope["query_string"] = query.encode()

        async def receive():
            return {"type": "http.disconnect"} if gone else await asyncio.sleep(60)

        async def send(message):
            messages.append(message)

        await self.app(scope, receive, send)
        return messages[0]["status"], messages[0]["headers"], b"".join(part.get("body", b"") for part in messages[1:])


def address(top=0, left=0, rows=LENGTH, columns=KEYS, side=1):
    return f"top={top}&left={left}&rows={rows}&columns={columns}&side={side}"


def fetched(query, of=None, **options):
    token = finer.sources.put(of or source(), [(0.0, 1.0), (0.0, 0.5)])
    return completed(Client().get(token, query, **options))


PARTS = [(0, 0, LENGTH, KEYS, 1), (16, 8, 34, 16, 8), (4, 0, 13, 21, 4), (49, 69, 1, 1, 1)]


class TestRoute:
    @pytest.mark.parametrize("part", PARTS)
    def test_a_part_equals_pooling_its_cells_one_block_at_a_time(self, part):
        top, left, rows, columns, side = part
        status, headers, body = fetched(address(*part))
        assert status == 200
        assert (b"content-encoding", b"identity") in headers
        header, arrays = opened(body)
        shape = (-(-rows // side), -(-columns // side))
        assert [header[name] for name in ("top", "left", "side", "rows", "columns")] == [top, left, side, *shape]
        at = slice(top, top + rows), slice(left, left + columns)

        def array(place, kind):
            return np.frombuffer(arrays[place[0] : place[0] + place[1]], kind).reshape(shape)

        for head, (panel, share, high) in enumerate(zip(header["panels"], (1, 0.5), (1, 0.5), strict=True)):
            exact = blocks(WEIGHTS[head], *at, side, largest)
            assert np.array_equal(array(panel["values"], "<f4"), exact, equal_nan=True)
            expected = np.nan_to_num(np.clip(exact.astype(float) * share / high, 0, 1) * 255)
            assert np.abs(array(panel["cells"], "u1") - expected).max() <= 0.51
            codes = blocks(CODES, *at, side, np.max)
            assert panel["state"] is None if not codes.any() else np.array_equal(array(panel["state"], "u1"), codes)
            assert panel["scaled"] is (head == 1)

    def test_states_that_panels_share_are_sent_once(self):
        first, second = opened(fetched(address())[2])[0]["panels"]
        assert first["state"] == second["state"]

    def test_many_exact_values_wait_on_the_server(self, monkeypatch):
        monkeypatch.setattr(values, "store", values.ValueStore())
        large = np.random.default_rng(0).random((600, 600), dtype="f4")
        of = source(rows=600, columns=600, read=lambda *_: [Cells(large, large, None)] * 2)
        header, body = opened(fetched(address(rows=600, columns=600), of)[2])
        assert np.array_equal(values.store.get(header["panels"][0]["values"]), large)
        assert len(body) < large.nbytes

    def test_a_panel_that_has_nothing_to_show_is_null(self):
        of = source(read=lambda *part: [None, read(*part)[1]])
        first, second = opened(fetched(address(), of)[2])[0]["panels"]
        assert first is None
        assert second["scaled"] is True

    def test_names_come_with_single_cells_only(self, monkeypatch):
        monkeypatch.setattr(finer, "FEW", 10)
        names = [f"word{i}" for i in range(KEYS)]
        of = source(key_tokens=names, query_tokens=[str(i) for i in range(LENGTH)])
        header, _ = opened(fetched(address(left=8, columns=3), of)[2])
        assert header["keys"] == ["word8", "word9", "word10"]
        assert header["queries"] is None
        assert opened(fetched(address(left=8, columns=3, side=8), of)[2])[0]["keys"] is None

    @pytest.mark.parametrize(
        ("query", "words"),
        [
            ("", "top must be a whole number of at most 9 digits, not ''."),
            (address(top=-1), "top must be a whole number of at most 9 digits, not '-1'."),
            (address(top="1_0"), "top must be a whole number of at most 9 digits, not '1_0'."),
            (address(left="%D9%A3"), "left must be a whole number of at most 9 digits, not '٣'."),
            (address(rows="9" * 5000), f"rows must be a whole number of at most 9 digits, not '{'9' * 40}'."),
            (address(side=0), "side must be from 1 to 8, not 0."),
            (address(side=9), "side must be from 1 to 8, not 9."),
            (address(rows=0), "rows must be within 0 to 50, not 0 to 0."),
            (address(top=40, rows=11), "rows must be within 0 to 50, not 40 to 51."),
            (address(left=70, columns=1), "columns must be within 0 to 70, not 70 to 71."),
            (address(top=4, rows=8, side=8), "rows must start at a multiple of the side 8, not at 4."),
            (address(left=1, columns=4, side=2), "columns must start at a multiple of the side 2, not at 1."),
        ],
    )
    def test_a_part_that_is_none_is_refused_in_one_sentence(self, query, words):
        status, _, body = fetched(query)
        assert (status, body.decode()) == (400, words)

    def test_more_than_640_blocks_are_refused(self):
        of = source(rows=10**6, columns=10**6, side=2000)
        status, _, body = fetched(address(rows=641, columns=5, side=1), of)
        assert (status, body.decode()) == (400, "a part may have 640 × 640 blocks, not 641 × 5.")

    @pytest.mark.parametrize("token", ["0" * 32, "x"])
    def test_an_unknown_token_is_not_found(self, token):
        status, _, body = completed(Client().get(token, address()))
        assert status == 404
        assert body.decode() == "These cells are no longer kept; they are there again with the next run."

    @pytest.mark.parametrize(
        ("error", "status", "words"),
        [
            (InputError("The mask is gone."), 422, "The mask is gone."),
            (MemoryError(), 503, "The server ran out of memory"),
            (RuntimeError("DefaultCPUAllocator: not enough memory"), 503, "The server ran out of memory"),
        ],
    )
    def test_a_failure_is_one_sentence(self, error, status, words):
        def fail(*_):
            raise error

        found, _, body = fetched(address(), source(read=fail))
        assert found == status
        assert body.decode().startswith(words)

    def test_only_a_few_are_computed_at_a_time_and_all_are_answered(self, sources):
        running, most = set(), []
        lock = threading.Lock()

        def watched(*part):
            with lock:
                running.add(threading.get_ident())
                most.append(len(running))
            found = read(*part)
            with lock:
                running.discard(threading.get_ident())
            return found

        token = sources.put(source(read=watched), [(0.0, 1.0), (0.0, 0.5)])

        async def crowd():
            client = Client(at_once=2)
            return await asyncio.gather(*(client.get(token, address()) for _ in range(12)))

        assert {status for status, *_ in completed(crowd())} == {200}
        assert len(most) == 12
        assert max(most) <= 2

    def test_for_a_browser_that_has_gone_nothing_is_computed(self):
        called = []
        status, _, body = fetched(address(), source(read=lambda *_: called.append(1)), gone=True)
        assert (status, body, called) == (204, b"", [])

    def test_a_request_that_is_cancelled_leaves_room_for_the_next(self, sources):
        started, go_on = threading.Event(), threading.Event()

        def slow(*part):
            started.set()
            assert go_on.wait(20)
            return read(*part)

        ranges = [(0.0, 1.0), (0.0, 0.5)]
        held, plain = sources.put(source("held", read=slow), ranges), sources.put(source(), ranges)

        async def cancelled():
            client = Client(at_once=1)
            first = asyncio.create_task(client.get(held, address()))
            waiting = asyncio.create_task(client.get(plain, address()))
            await asyncio.to_thread(started.wait, 20)
            waiting.cancel()
            first.cancel()
            go_on.set()
            await asyncio.gather(first, waiting, return_exceptions=True)
            return await client.get(plain, address())

        assert completed(cancelled())[0] == 200


def drawn(monkeypatch, finer_, **options):
    """Return what st.plotly_chart is given where the component does not run."""
    found = []
    monkeypatch.setattr(values, "serving", lambda: False)
    monkeypatch.setattr(plot.st, "plotly_chart", lambda figure, **_: found.append(figure))
    plot.heatmaps(figure(source()), key="plot", alt="weights", finer=finer_, **options)
    return found[0]


def test_streamlits_own_chart_outlines_the_block_of_the_selected_cell(monkeypatch):
    (shape,) = drawn(monkeypatch, source(), selected=(0, 17, 9))["layout"]["shapes"]
    assert (shape["x0"], shape["x1"], shape["y0"], shape["y1"]) == (0.5, 1.5, 1.5, 2.5)


def test_streamlits_own_chart_says_what_a_block_is_and_of_no_zooming(monkeypatch):
    said = []
    monkeypatch.setattr(plot.st, "text", said.append)
    drawn(monkeypatch, source(), lines=[*plot.refined(8), "Below it."])
    assert said == ["Each cell shows the largest of 8 × 8 weights.", "Below it."]


@pytest.mark.parametrize(("side", "lines"), [(1, 0), (2, 1)])
def test_how_to_come_to_exact_weights_is_said_of_blocks(monkeypatch, side, lines):
    monkeypatch.setattr(values, "serving", lambda: True)
    how = "Drag a box, turn the wheel with Ctrl held, or spread two fingers for exact weights."
    assert plot.refined(side) == [how] * lines


def test_blocks_of_one_cell_need_nothing_finer(monkeypatch):
    sent = []
    monkeypatch.setattr(values, "serving", lambda: True)
    monkeypatch.setattr(plot, "_component", lambda **options: sent.append(options["data"]))
    plot.heatmaps(figure(source()), key="plot", alt="weights", finer=source(rows=7, columns=9, side=1))
    assert opened(sent[0])[0]["frame"]["finer"] is None


class TestClickedSide:
    @pytest.mark.parametrize(
        ("side", "expected"), [(8, 8), (1, 1), (0, 1), (-4, 1), ("8", 1), (True, 1), (None, 1), (2.5, 1)]
    )
    def test_anything_but_a_whole_number_is_a_single_cell(self, monkeypatch, side, expected):
        cell = {"panel": 0, "query": 1, "key": 2, "side": side}
        monkeypatch.setattr(plot.st, "session_state", {"plot": {"cell": cell}})
        assert plot.clicked("plot") == (0, 1, 2)
        assert plot.clicked_side("plot") == expected
        assert plot.clicked_side("other") == 1
