from __future__ import annotations

import pytest

from mha_viz.ui import strokes
from mha_viz.ui.strokes import Stroke

SENT = {"serial": 3, "panel": 1, "runs": [[0, 2, 5], [1, 2, 2]], "value": True}


def test_a_stroke_is_read_as_it_was_sent():
    assert strokes.read(SENT) == Stroke(panel=1, runs=((0, 2, 5), (1, 2, 2)), value=True)
    assert strokes.read({**SENT, "value": False, "more": 9}) == Stroke(1, ((0, 2, 5), (1, 2, 2)), value=False)


@pytest.mark.parametrize("command", ["undo", "redo"])
def test_commands_are_read(command):
    assert strokes.read({"serial": 1, command: True}) == command
    assert strokes.read({"serial": 1, command: 1}) is None


@pytest.mark.parametrize("message", [None, 3, "undo", [], {}, {"runs": [[0, 0, 0]]}])
def test_anything_that_is_no_message_is_nothing(message):
    assert strokes.read(message) is None
    assert strokes.serial(message) is None


@pytest.mark.parametrize(
    "change",
    [
        {"panel": -1},
        {"panel": True},
        {"panel": "0"},
        {"panel": 2**20},
        {"value": 1},
        {"value": None},
        {"runs": None},
        {"runs": []},
        {"runs": "abc"},
        {"runs": {"0": [0, 0, 0]}},
        {"runs": [[0, 0, 0]] * 8193},
        {"runs": [[0, 2, 5], None]},
        {"runs": [[0, 2]]},
        {"runs": [[0, 2, 5, 6]]},
        {"runs": [[0, 5, 2]]},
        {"runs": [[-1, 2, 5]]},
        {"runs": [[0, -2, 5]]},
        {"runs": [[0, 2, 2**20]]},
        {"runs": [[0, 2, 5.0]]},
        {"runs": [[False, 2, 5]]},
        {"runs": ["025"]},
    ],
    ids=str,
)
def test_a_stroke_of_another_form_is_nothing(change):
    assert strokes.read({**SENT, **change}) is None


def test_as_many_runs_as_a_large_mask_has_rows_are_read():
    runs = [[row, 0, 8191] for row in range(8192)]
    found = strokes.read({**SENT, "runs": runs})
    assert isinstance(found, Stroke)
    assert len(found.runs) == 8192


@pytest.mark.parametrize(
    ("number", "found"), [(1, 1), (12345, 12345), (True, None), (-1, None), ("1", None), (1.0, None)]
)
def test_the_number_of_a_message_is_read(number, found):
    assert strokes.serial({"serial": number}) == found
