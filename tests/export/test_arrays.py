"""Weights as files, read back by what users read them with."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

import mha_viz as mv
from mha_viz.scenario import Scenario


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_npz_holds_everything_and_needs_no_pickle(dtype: str) -> None:
    s = Scenario(text="one two three\nfour", dtype=dtype)
    run = mv.run(s)
    with np.load(io.BytesIO(mv.export.npz(run)), allow_pickle=False) as file:
        layer = run.layers[0]
        for name in ("weights", "average", "output"):
            tensor = getattr(layer, name)
            expected = tensor.float() if dtype == "bfloat16" else tensor
            np.testing.assert_array_equal(file[name], expected.numpy())
        np.testing.assert_array_equal(file["allowed"], layer.allowed.expand_as(layer.weights).numpy())
        assert file["query_tokens"][1].tolist() == ["four", "<pad>", "<pad>"]
        assert Scenario.from_query(str(file["scenario"])) == s


def test_the_csv_has_a_row_for_each_head_and_query() -> None:
    run = mv.run(Scenario())
    rows = list(csv.reader(io.StringIO(mv.export.csv_text(run))))
    assert rows[0][:4] == ["head", "query", "query token", "0 the"]
    assert len(rows) == 1 + 4 * 11
    found = np.array([[float(v) for v in row[3:]] for row in rows[1:]], dtype=np.float32)
    np.testing.assert_array_equal(found.reshape(4, 11, 11), run.layers[0].weights[0].numpy())


def test_a_token_that_a_spreadsheet_would_run_is_text() -> None:
    text = mv.export.csv_text(mv.run(Scenario(text="= 1 + @ x")))
    assert [row[2] for row in csv.reader(io.StringIO(text))][1:5] == ["'=", "1", "'+", "'@"]
