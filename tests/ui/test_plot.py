from __future__ import annotations

import base64
import gzip
import json
import threading
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest
import streamlit as st
from starlette.applications import Starlette
from streamlit import config
from streamlit.testing.v1 import AppTest

from mha_viz.ui import assets, plot, raster, values, wire
from tests.coroutines import completed

GREY = [[0.0, "rgb(0,0,0)"], [1.0, "rgb(255,255,255)"]]
HOSTILE = ['<a href="https://evil.example">x</a>', "<img src=x onerror=alert(1)>", "$x$", "%{z}", "\ud800"]


def panel(z, number=0, **more):
    axes = {"xaxis": f"x{number + 1}" if number else "x", "yaxis": f"y{number + 1}" if number else "y"}
    trace = {"type": "heatmap", "z": z, "zmin": 0.0, "zmax": 1.0, "colorscale": GREY, "name": f"head {number}"}
    return trace | {"meta": {"layer": "weights", "panel": number}} | axes | more


def state(codes, number=0):
    return panel(codes, number, meta={"layer": "state", "panel": number}, showscale=False)


def spec(*data, **meta):
    return {"data": list(data), "layout": {"meta": meta}}


def decoded(data):
    length = int.from_bytes(data[:4], "little")
    return json.loads(data[4 : 4 + length]), data[4 + length :]


def array(body, place, dtype):
    return np.frombuffer(body[place[0] : place[0] + place[1]], dtype=dtype)


def slow_indices(z, low, high):
    """One colour index a cell, computed cell by cell in double precision."""
    found = []
    for value in np.asarray(z, dtype=np.float64).ravel():
        share = 0.0 if np.isnan(value) else min(max((value - low) / (high - low), 0.0), 1.0)
        found.append(int(share * 255 + 0.5))
    return np.array(found)


class TestEncode:
    def test_header_length_and_buffers_start_at_multiples_of_eight(self):
        for tokens in (["a"], ["aé"], ["abc"], ["中文"]):
            data = wire.encode(spec(panel(np.eye(3, dtype="f4")), query_tokens=tokens))
            header, _ = decoded(data)
            assert (4 + int.from_bytes(data[:4], "little")) % 8 == 0
            sent = header["frame"]["panels"][0]
            assert sent["cells"][0] % 8 == 0
            assert sent["values"][0] % 8 == 0
            assert header["figure"]["queries"] == tokens

    @pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.25, 0.5), (-6.0, 0.0)])
    def test_colour_indices_equal_a_loop_over_the_cells(self, low, high):
        z = np.random.default_rng(0).uniform(low - 0.1, high + 0.1, (7, 11)).astype("f4")
        header, body = decoded(wire.encode(spec(panel(z, zmin=low, zmax=high))))
        found = array(body, header["frame"]["panels"][0]["cells"], "u1").astype(int)
        # float32 may round a value that lies on the border of two colours to the other side
        assert np.abs(found - slow_indices(z, low, high)).max() <= 1
        assert (found == slow_indices(z, low, high)).mean() > 0.95

    def test_colour_indices_of_the_ends_and_of_what_is_no_number(self):
        z = np.array([[0.0, 1.0, 0.5, np.nan, np.inf, -np.inf, 2.0, -1.0]], dtype="f4")
        assert raster.colour_indices(z, 0.0, 1.0).tolist() == [[0, 255, 128, 0, 255, 0, 255, 0]]

    def test_one_colour_where_the_range_is_empty(self):
        assert raster.colour_indices(np.ones((2, 2), dtype="f4"), 1.0, 1.0).tolist() == [[0, 0], [0, 0]]

    def test_values_are_the_exact_floats(self):
        z = np.random.default_rng(1).random((5, 4), dtype="f4")
        header, body = decoded(wire.encode(spec(panel(z))))
        assert np.array_equal(array(body, header["frame"]["panels"][0]["values"], "<f4"), z.ravel())
        assert header["frame"]["panels"][0]["scaled"] is False

    def test_values_are_the_weights_where_the_colours_show_a_scaled_version(self):
        weights = np.random.default_rng(1).random((5, 4), dtype="f4")
        header, body = decoded(wire.encode(spec(panel(np.log10(weights), zmin=-6.0, zmax=0.0, customdata=weights))))
        sent = header["frame"]["panels"][0]
        assert np.array_equal(array(body, sent["values"], "<f4"), weights.ravel())
        assert sent["scaled"] is True

    def test_range_is_that_of_the_finite_values_where_none_is_given(self):
        z = np.array([[0.25, np.nan, 0.75]], dtype="f4")
        header, _ = decoded(wire.encode(spec(panel(z, zmin=None, zmax=None))))
        assert (header["frame"]["panels"][0]["zmin"], header["frame"]["panels"][0]["zmax"]) == (0.0, 0.75)

    def test_a_state_array_that_panels_share_is_sent_once(self):
        z = np.zeros((2, 64, 64), dtype="f4")
        codes = np.ones((64, 64), dtype="u1")
        header, body = decoded(wire.encode(spec(panel(z[0]), state(codes), panel(z[1], 1), state(codes, 1))))
        first, second = header["frame"]["panels"]
        assert first["state"] == second["state"]
        assert array(body, first["state"], "u1").tolist() == [1] * 4096
        assert len(body) == 2 * (4096 + 4 * 4096) + 4096

    def test_no_states_are_sent_where_every_cell_is_plain(self):
        header, _ = decoded(wire.encode(spec(panel(np.eye(2, dtype="f4")), state(np.zeros((2, 2), dtype="u1")))))
        assert header["frame"]["panels"][0]["state"] is None

    def test_nan_without_states_is_marked(self):
        z = np.array([[0.5, np.nan]], dtype="f4")
        header, body = decoded(wire.encode(spec(panel(z))))
        assert array(body, header["frame"]["panels"][0]["state"], "u1").tolist() == [0, 4]

    def test_a_figure_object_gives_what_its_plain_dict_gives(self):
        z = np.random.default_rng(2).random((4, 6), dtype="f4")
        plain = spec(panel(z), state(np.full((4, 6), 2, dtype="u1")), query_tokens=list("abcd"))
        assert isinstance(go.Figure(plain).to_dict()["data"][0]["z"], dict)
        ours, theirs = (decoded(wire.encode(s)) for s in (plain, go.Figure(plain).to_dict()))
        assert ours[0]["frame"] == theirs[0]["frame"]
        assert ours[1] == theirs[1]

    def test_base64_arrays_with_one_dimension_a_side(self):
        packed = {"dtype": "f4", "bdata": base64.b64encode(np.eye(2, dtype="f4")).decode(), "shape": "2, 2"}
        _, body = decoded(wire.encode(spec(panel(packed))))
        assert array(body, [0, 4], "u1").tolist() == [255, 0, 0, 255]

    def test_other_traces_are_passed_on(self):
        figure = {"data": [{"type": "bar", "y": np.arange(3.0)[::-1], "name": "n"}], "layout": {"title": {"text": "t"}}}
        header, body = decoded(wire.encode(figure))
        assert header["figure"]["others"] == [{"type": "bar", "y": [2.0, 1.0, 0.0], "name": "n"}]
        assert header["figure"]["layout"] == figure["layout"]
        assert header["figure"]["arranged"] is False
        assert body == b""

    def test_a_figure_with_axes_of_its_own_keeps_its_arrangement(self):
        bar = {"type": "bar", "y": [1], "xaxis": "x9", "yaxis": "y9"}
        figure = {"data": [panel(np.eye(2, dtype="f4")), bar], "layout": {"xaxis9": {"domain": [0, 1]}}}
        header, _ = decoded(wire.encode(figure))
        assert header["figure"]["arranged"] is False
        assert header["figure"]["layout"]["xaxis9"] == {"domain": [0, 1]}

    def test_the_figures_own_title_annotations_are_left_to_the_browser(self):
        figure = spec(panel(np.eye(2, dtype="f4")), panels=[{"title": "a<b", "xaxis": "x", "yaxis": "y"}])
        figure["layout"]["annotations"] = [{"text": "a&lt;b"}, {"text": "a note"}]
        header, _ = decoded(wire.encode(figure))
        assert header["figure"]["layout"]["annotations"] == [{"text": "a note"}]
        assert header["figure"]["panels"][0]["title"] == "a<b"

    def test_a_named_colour_scale_becomes_colours(self):
        header, _ = decoded(wire.encode(spec(panel(np.eye(2, dtype="f4"), colorscale="Greys"))))
        assert header["figure"]["panels"][0]["colorscale"][-1] == [1.0, "rgb(0,0,0)"]

    def test_tokens_are_sent_as_the_data_that_they_are(self):
        header, _ = decoded(wire.encode(spec(panel(np.eye(5, dtype="f4")), key_tokens=HOSTILE)))
        assert header["figure"]["keys"] == [*HOSTILE[:4], "?"]

    def test_new_data_changes_the_frame_and_not_the_figure(self):
        one, two = (decoded(wire.encode(spec(panel(z))))[0] for z in (np.eye(3, dtype="f4"), np.ones((3, 3), "f4")))
        assert one["figure"] == two["figure"]
        assert one["revision"] != two["revision"]

    def test_revision_is_the_same_for_the_same_bytes_and_can_be_given(self):
        figure = spec(panel(np.eye(3, dtype="f4")))
        assert decoded(wire.encode(figure))[0]["revision"] == decoded(wire.encode(figure))[0]["revision"]
        assert decoded(wire.encode(figure, revision="7"))[0]["revision"] == "7"

    def test_a_selected_cell_travels_in_the_frame(self):
        header, _ = decoded(wire.encode(spec(panel(np.eye(3, dtype="f4"))), selected=(0, 2, 1)))
        assert header["frame"]["selected"] == [0, 2, 1]

    def test_rows_and_columns_are_queries_and_keys_unless_the_panel_says_otherwise(self):
        about = [
            {"xaxis": "x", "yaxis": "y"},
            {"xaxis": "x2", "yaxis": "y2", "rows": "key", "columns": "dim", "pool": 1},
        ]
        figure = spec(panel(np.eye(3, dtype="f4")), panel(np.eye(3, dtype="f4"), 1), panels=about, pool=4)
        first, second = decoded(wire.encode(figure))[0]["figure"]["panels"]
        assert (first["axes"], first["pool"]) == (["query", "key"], 4)
        assert (second["axes"], second["pool"]) == (["key", "dim"], 1)

    def test_a_panel_may_call_its_numbers_by_a_name_of_their_own(self):
        about = [{"xaxis": "x", "yaxis": "y", "value_title": "score"}]
        header, _ = decoded(wire.encode(spec(panel(np.eye(3, dtype="f4")), panels=about)))
        assert header["figure"]["panels"][0]["value"] == "score"
        assert header["figure"]["valueTitle"] == "weight"

    def test_what_is_marked_travels_in_the_frame(self):
        header, _ = decoded(wire.encode(spec(panel(np.eye(3, dtype="f4"))), marked={"query": 2, "key": 1}))
        assert header["frame"]["marked"] == {"query": 2, "key": 1}

    def test_something_that_is_no_plain_value_is_refused(self):
        figure = {"data": [{"type": "bar", "y": object()}], "layout": {}}
        with pytest.raises(
            TypeError, match="must hold plain values and arrays, but: Type is not JSON serializable: object"
        ):
            wire.encode(figure)


class TestDeferredValues:
    def test_few_values_travel_along_and_many_wait(self, monkeypatch):
        monkeypatch.setattr(values, "store", values.ValueStore())
        z = np.random.default_rng(0).random((16, 16), dtype="f4")
        at_limit, _ = decoded(wire.encode(spec(panel(z)), inline_limit=1024, deferred=True))
        above, body = decoded(wire.encode(spec(panel(z)), inline_limit=1023, deferred=True))
        assert isinstance(at_limit["frame"]["panels"][0]["values"], list)
        digest = above["frame"]["panels"][0]["values"]
        assert np.array_equal(values.store.get(digest), z)
        assert len(body) == 256

    def test_nothing_waits_unless_the_server_has_the_route(self, monkeypatch):
        monkeypatch.setattr(values, "store", values.ValueStore())
        z = np.zeros((16, 16), dtype="f4")
        kinds = []
        for active in (False, True):
            monkeypatch.setattr(values, "serving", lambda active=active: active)
            header, _ = decoded(wire.encode(spec(panel(z)), inline_limit=0))
            kinds.append(type(header["frame"]["panels"][0]["values"]))
        assert kinds == [list, str]


class TestValueStore:
    def test_least_recently_used_arrays_go_first(self):
        store = values.ValueStore(budget=3 * 400)
        arrays = [np.full((10, 10), i, dtype="f4") for i in range(4)]
        digests = [store.put(a) for a in arrays[:3]]
        assert store.get(digests[0]) is not None  # used: the second is the oldest now
        digests.append(store.put(arrays[3]))
        assert [store.get(d) is not None for d in digests] == [True, False, True, True]
        assert (len(store), store.nbytes) == (3, 1200)

    def test_equal_arrays_are_kept_once_and_not_copied(self):
        store = values.ValueStore()
        array = np.random.default_rng(0).random((4, 4), dtype="f4")
        assert store.put(array) == store.put(array.copy())
        assert (len(store), store.nbytes) == (1, 64)
        assert store.get(store.put(array)) is array

    def test_shape_is_part_of_the_digest(self):
        store = values.ValueStore()
        assert store.put(np.zeros((2, 8), dtype="f4")) != store.put(np.zeros((4, 4), dtype="f4"))

    def test_digests_of_two_processes_differ(self):
        array = np.zeros((2, 2), dtype="f4")
        assert values.ValueStore().put(array) != values.ValueStore().put(array)

    def test_an_array_over_the_budget_is_still_kept(self):
        store = values.ValueStore(budget=10)
        assert store.get(store.put(np.ones((4, 4), dtype="f4"))) is not None

    def test_clear_drops_everything(self):
        store = values.ValueStore()
        digest = store.put(np.zeros((2, 2), dtype="f4"))
        store.clear()
        assert (store.get(digest), len(store), store.nbytes) == (None, 0, 0)

    def test_threads_leave_the_count_of_bytes_right(self):
        store = values.ValueStore(budget=50 * 400)
        arrays = [np.full((10, 10), i, dtype="f4") for i in range(200)]
        failures = []

        def work(offset):
            for i in range(200):
                found = store.get(store.put(arrays[(i * 7 + offset) % 200]))
                if found is not None and found[0, 0] != (i * 7 + offset) % 200:
                    failures.append(i)

        threads = [threading.Thread(target=work, args=(31 * n,)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(store) == 50
        assert store.nbytes == 50 * 400


class Client:
    """One GET request at a time to the component's routes, without a server."""

    def __init__(self):
        self.app = Starlette(routes=[values.route(), assets.frontend_route(), assets.plotly_js_route()])

    def get(self, path, **headers):
        """Return status, headers and body."""
        messages = []
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "root_path": ""}
        scope["headers"] = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            messages.append(message)

        completed(self.app(scope, receive, send))
        sent = {name.decode(): value.decode() for name, value in messages[0]["headers"]}
        return messages[0]["status"], sent, b"".join(message.get("body", b"") for message in messages[1:])


class TestRoutes:
    @pytest.fixture
    def client(self, monkeypatch):
        monkeypatch.setattr(values, "store", values.ValueStore())
        return Client()

    def test_values_are_raw_floats_that_no_middleware_compresses(self, client):
        z = np.random.default_rng(0).random((8, 8), dtype="f4")
        status, headers, body = client.get(f"/mha-viz/values/{values.store.put(z)}")
        assert status == 200
        assert headers["content-encoding"] == "identity"
        assert np.array_equal(np.frombuffer(body, "<f4"), z.ravel())

    @pytest.mark.parametrize("digest", ["0" * 32, "x", "../../etc/passwd"])
    def test_unknown_values_are_not_found(self, client, digest):
        assert client.get(f"/mha-viz/values/{digest}")[0] == 404

    def test_every_module_is_served_as_javascript_under_a_name_of_its_content(self, client):
        on_disk = {path.name for path in assets.FRONTEND.glob("*.js")} - {"loader.js"}
        assert set(assets.MODULES) == on_disk
        for name in assets.MODULES:
            _, headers, body = client.get(f"/{assets.frontend_folder()}/{name}")
            assert headers["content-type"].startswith("text/javascript")
            assert "immutable" in headers["cache-control"]
            assert body.decode() == assets.read(name)

    @pytest.mark.parametrize("name", ["plot.css", "loader.js", "../plot.py"])
    def test_other_files_are_not_served(self, client, name):
        assert client.get(f"/{assets.frontend_folder()}/{name}")[0] == 404

    def test_plotly_js_is_the_packages_own_and_compressed(self, client):
        own = (Path(go.__file__).parents[1] / "package_data" / "plotly.min.js").read_bytes()
        _, headers, body = client.get(f"/mha-viz/{assets.PLOTLY_FILE}", accept_encoding="gzip, br")
        assert headers["content-encoding"] == "gzip"
        assert len(body) < len(own) / 2
        assert gzip.decompress(body) == own
        _, headers, body = client.get(f"/mha-viz/{assets.PLOTLY_FILE}")
        assert "content-encoding" not in headers
        assert body == own


class TestClicked:
    @pytest.mark.parametrize(
        "cell",
        [
            None,
            3,
            "012",
            [0, 1, 2],
            {},
            {"panel": 0, "query": 1},
            {"panel": 0, "query": 1, "key": -1},
            {"panel": 0, "query": 1.5, "key": 2},
            {"panel": 0, "query": "1", "key": 2},
            {"panel": True, "query": 1, "key": 2},
            {"panel": 0, "query": None, "key": 2},
        ],
    )
    def test_anything_but_three_whole_numbers_is_no_click(self, monkeypatch, cell):
        monkeypatch.setattr(st, "session_state", {"plot": {"cell": cell}})
        assert plot.clicked("plot") is None

    @pytest.mark.parametrize("state", [{}, {"plot": None}, {"plot": "x"}, {"plot": {"stale": "y"}}])
    def test_no_click_without_the_element(self, monkeypatch, state):
        monkeypatch.setattr(st, "session_state", state)
        assert plot.clicked("plot") is None

    def test_the_cell_comes_as_panel_query_key(self, monkeypatch):
        monkeypatch.setattr(st, "session_state", {"plot": {"cell": {"key": 2, "query": 1, "panel": 0, "more": 9}}})
        assert plot.clicked("plot") == (0, 1, 2)


class TestPainted:
    def test_what_was_painted_comes_from_the_elements_own_event(self, monkeypatch):
        message = {"serial": 1, "panel": 0, "runs": [[2, 0, 1]], "value": False}
        monkeypatch.setattr(st, "session_state", {"plot": {"paint": message, "cell": None}})
        assert plot.painted("plot") == plot.Stroke(panel=0, runs=((2, 0, 1),), value=False)
        assert plot.painted("other") is None

    @pytest.mark.parametrize("state", [{}, {"plot": None}, {"plot": {"paint": None}}, {"plot": {"paint": {"undo": 1}}}])
    def test_nothing_was_painted_without_a_message(self, monkeypatch, state):
        monkeypatch.setattr(st, "session_state", state)
        assert plot.painted("plot") is None

    def test_a_figure_to_paint_on_says_which_panels_which_cells_and_what_it_answers(self):
        allowed = np.tri(3, dtype=bool)
        paint = wire.Paint(panels=(0, 2), allowed=allowed, answered=7)
        header, body = decoded(wire.encode(spec(panel(np.eye(3, dtype="f4"))), paint=paint))
        sent = header["frame"]["paint"]
        assert sent["panels"] == [0, 2]
        assert sent["answered"] == 7
        assert array(body, sent["allowed"], "u1").reshape(3, 3).tolist() == allowed.astype(int).tolist()

    def test_a_figure_is_not_to_be_painted_on_by_default(self):
        header, _ = decoded(wire.encode(spec(panel(np.eye(3, dtype="f4")))))
        assert header["frame"]["paint"] is None
        header, _ = decoded(wire.encode(spec(panel(np.eye(3, dtype="f4"))), paint=wire.Paint(panels=[0])))
        assert header["frame"]["paint"] == {"panels": [0], "answered": None, "allowed": None}


def _script():
    import numpy as np

    from mha_viz.ui import plot

    weights = {"type": "heatmap", "z": np.eye(3, dtype="f4"), "zmin": 0, "zmax": 1, "meta": {"layer": "weights"}}
    meta = {"panels": [{"title": "head 0", "xaxis": "x", "yaxis": "y"}]}
    figure = {"data": [weights], "layout": {"meta": meta, "xaxis": {"automargin": True}}}
    plot.heatmaps(figure, key="plot", alt="weights", selected=(0, 1, 2))


class TestHeatmaps:
    def elements(self, kind):
        at = AppTest.from_function(_script, default_timeout=30).run()
        assert not at.exception
        return at.get(kind)

    def test_the_component_draws_where_its_routes_are_served(self, monkeypatch):
        monkeypatch.setattr(values, "serving", lambda: True)
        monkeypatch.delenv(plot.PLOT_VARIABLE, raising=False)
        held = config.get_option("runner.enforceSerializableSessionState")
        config.set_option("runner.enforceSerializableSessionState", False)  # Streamlit's own state of it is not
        try:
            (element,) = self.elements("bidi_component")
        finally:
            config.set_option("runner.enforceSerializableSessionState", held)
        header, _ = decoded(element.proto.bytes)
        assert header["frame"]["alt"] == "weights"
        assert header["frame"]["selected"] == [0, 1, 2]
        assert assets.frontend_folder() in element.proto.js_content

    @pytest.mark.parametrize("chosen", [False, True])
    def test_streamlits_own_chart_draws_elsewhere_or_where_it_is_asked_for(self, monkeypatch, chosen):
        monkeypatch.setattr(values, "serving", lambda: chosen)
        if chosen:
            monkeypatch.setenv(plot.PLOT_VARIABLE, "plotly_chart")
        (element,) = self.elements("plotly_chart")
        drawn = json.loads(element.proto.spec)
        assert drawn["data"][0]["z"]["dtype"] == "f4"
        assert drawn["layout"]["xaxis"]["automargin"] is False
        assert drawn["layout"]["shapes"][0]["x0"] == 1.5
        assert element.proto.alt == "weights"


class TestChartFigure:
    ABOUT = ({"xaxis": "x", "yaxis": "y"}, {"xaxis": "x2", "yaxis": "y2", "rows": "key", "columns": "dim"})

    def shapes(self, marked):
        z = np.eye(3, dtype="f4")
        figure = spec(panel(z), panel(z, 1), panels=self.ABOUT)
        drawn = plot.chart_figure(figure, marked=marked)["layout"].get("shapes", [])
        return [(s["xref"], s["yref"], s["x0"], s["x1"], s["y0"], s["y1"]) for s in drawn]

    def test_a_marked_query_and_key_are_a_cell_in_one_panel_and_a_row_in_another(self):
        assert self.shapes({"query": 2, "key": 1}) == [
            ("x", "y", 0.5, 1.5, 1.5, 2.5),
            ("x2 domain", "y2", 0, 1, 0.5, 1.5),
        ]

    def test_a_panel_without_the_marked_axis_has_no_outline(self):
        assert self.shapes({"query": 2}) == [("x domain", "y", 0, 1, 1.5, 2.5)]
        assert self.shapes({}) == []
        assert self.shapes(None) == []
