"""The View: what is shown of a run, never more than the run has."""

from __future__ import annotations

import mha_viz as mv
from mha_viz.ui.view import View


def test_a_view_keeps_indices_that_the_run_has() -> None:
    view = View(item=1, head=3, query=10, key=9, scale="log")
    assert view.within(mv.run(mv.Scenario(batch_size=2))) == view


def test_a_view_forgets_indices_that_the_run_does_not_have() -> None:
    view = View(layer=5, item=3, head=7, query=9, key=11, scale="log", show="lines")
    assert view.within(mv.run(mv.Scenario())) == View(scale="log", show="lines")


def test_a_cell_is_its_panel_query_and_key_and_none_where_one_is_missing() -> None:
    assert View(query=9, key=4).cell(panel=1) == (1, 9, 4)
    assert View(query=9).cell(panel=1) is None
