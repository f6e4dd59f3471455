"""Pooled heatmaps: no large weight, violation or NaN is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import mha_viz as mv
from mha_viz.attention import stats
from mha_viz.figures import grammar, heads, pooling

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def blocks(array: np.ndarray, side: int) -> list[list[np.ndarray]]:
    rows, columns = range(0, array.shape[0], side), range(0, array.shape[1], side)
    return [[array[r : r + side, c : c + side] for c in columns] for r in rows]


@given(SHAPES.flatmap(lambda s: hnp.arrays(np.float32, s, elements=st.floats(0, 1, width=32))), st.integers(1, 5))
def test_each_cell_is_the_largest_of_its_block(values: np.ndarray, side: int) -> None:
    expected = [[block.max() for block in row] for row in blocks(values, side)]
    np.testing.assert_array_equal(pooling.largest(values, side), expected)


@given(SHAPES.flatmap(lambda s: hnp.arrays(np.uint8, s, elements=st.integers(0, 5))), st.integers(1, 5))
def test_a_block_is_violated_or_nan_if_any_cell_is_and_masked_only_if_all_are(codes: np.ndarray, side: int) -> None:
    for found, row in zip(pooling.worst(codes, side), blocks(codes, side), strict=True):
        for code, block in zip(found, row, strict=True):
            if (block >= grammar.NAN).any():
                assert code == block.max()
            else:
                assert (code > 0) == (block > 0).all()


def test_nan_does_not_hide_a_weight() -> None:
    values = np.array([[np.nan, 0.5], [np.nan, np.nan]], dtype=np.float32)
    assert pooling.largest(values, 2) == [[0.5]]


@pytest.mark.parametrize("cells", [1, 4_000_000, 4_000_001, 134_217_728])
def test_the_factor_brings_the_cells_under_the_limit(cells: int) -> None:
    side = pooling.factor(cells)
    assert cells / side**2 <= pooling.MAX_CELLS
    assert side == 1 or cells / (side - 1) ** 2 > pooling.MAX_CELLS


def test_a_large_figure_is_pooled_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "MAX_CELLS", 200)
    run = mv.run(mv.Scenario())
    for spec, count in ((heads.head_grid(run, scale="log"), 4), (heads.detail(run, 1), 3)):
        side = spec["layout"]["meta"]["pool"]
        assert side > 1
        assert spec["layout"]["meta"]["query_tokens"][0] == f"the … {run.query_tokens()[side - 1]}"
        traces = [t for t in spec["data"] if t["meta"]["layer"] == "weights"]
        assert len(traces) == count
        assert {t["z"].shape for t in traces} == {(-(-11 // side),) * 2}
    top = run.layers[0].weights[0, 0].max()
    assert heads.head_grid(run)["data"][0]["z"].max() == top


def test_the_largest_weight_of_a_block_is_found() -> None:
    layer = mv.run(mv.Scenario()).layers[0]
    weights = layer.weights[0, 2].numpy()
    for query, key in ((0, 0), (4, 0), (8, 8)):
        q, k = stats.largest_in(layer, 0, 2, query, key, 4)
        assert weights[q, k] == weights[query : query + 4, key : key + 4].max()
    assert stats.largest_in(layer, 0, 2, 99, 99, 4) == (10, 10)


def test_a_block_at_the_edge_that_holds_nothing_but_nan_is_nan() -> None:
    values = np.array([[0.5, 0.25, np.nan], [0.0, 1.0, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(pooling.largest(values, 2), [[1.0, np.nan]])
