"""Bars of one row and lines between tokens."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import pytest

import mha_viz as mv
from mha_viz.figures import grammar, rows
from mha_viz.scenario import Scenario


def test_bars_are_the_rows_weights_and_hidden_keys_are_named() -> None:
    run = mv.run(Scenario())
    spec = rows.row(run, 1, 3, key=2)
    bars, marks = spec["data"]
    np.testing.assert_array_equal(bars["y"], run.layers[0].weights[0, 1, 3].numpy())
    assert marks["x"] == list(range(4, 11))
    assert all("masked by attn_mask" in text for text in bars["customdata"][4:])
    assert len(set(bars["marker"]["color"])) == 2
    assert type(mv.figures.row(run, 1, 3)) is go.Figure


def test_a_query_out_of_bounds_is_refused() -> None:
    with pytest.raises(mv.ScenarioError, match=r"^query must be from 0 to 10, not 11\.$"):
        mv.figures.row(mv.run(Scenario()), 0, 11)


def test_lines_join_the_allowed_pairs_and_no_others() -> None:
    run = mv.run(Scenario())
    spec = rows.links(run, 0)
    joined = set()
    for shade in spec["data"][: rows.SHADES]:
        ys = shade["y"]
        joined |= {(ys[i], ys[i + 1]) for i in range(0, len(ys), 3)}
    expected = {((q + 0.5) / 11, (k + 0.5) / 11) for q in range(11) for k in range(q + 1)}
    assert {(round(a, 5), round(b, 5)) for a, b in joined} == {(round(a, 5), round(b, 5)) for a, b in expected}
    assert type(mv.figures.links(run)) is go.Figure


def test_one_query_can_be_picked_out() -> None:
    spec = rows.links(mv.run(Scenario()), 0, query=2)
    faint, strong = spec["data"][: rows.SHADES], spec["data"][rows.SHADES : 2 * rows.SHADES]
    assert {round(y, 6) for shade in strong for y in shade["y"][::3]} == {round(2.5 / 11, 6)}
    assert {round(y, 6) for shade in faint for y in shade["y"][::3]} == {
        round((q + 0.5) / 11, 6) for q in range(11) if q != 2
    }


def test_too_many_lines_are_cut_and_it_says_so() -> None:
    spec = rows.links(mv.run(Scenario(source="normal", query_len=64, mask="full")), 0)
    drawn = sum(len(shade["y"]) // 3 for shade in spec["data"][: rows.SHADES])
    assert drawn == rows.MAX_LINES
    assert spec["layout"]["title"]["text"] == "the 1,500 largest of 4,096 weights"


def test_tokens_that_look_like_markup_are_text() -> None:
    run = mv.run(Scenario(text="<b> x"))
    text = str(rows.links(run)["data"][-1]["text"]) + str(rows.row(run)["data"][0]["customdata"])
    assert "<" not in text
    assert "&lt;" in text
    assert grammar.label("<a href='x'>") == "&lt;a href='x'&gt;"
