"""Panels in blocks, whole or in part: compared with a loop over the blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mha_viz.figures import grammar, panel, pooling
from mha_viz.figures.panel import Panel

LENGTH, KEYS = 23, 31
RNG = np.random.default_rng(0)
WEIGHTS = RNG.random((2, LENGTH, KEYS), dtype=np.float32)
CODES = RNG.integers(0, 6, (LENGTH, KEYS)).astype(np.uint8)
WEIGHTS[:, CODES == grammar.NAN] = np.nan
PARTS = [(slice(None), slice(None)), (slice(6, 18), slice(12, 31)), (slice(0, 23), slice(30, 31))]


def drawn(values: np.ndarray, weights: np.ndarray, codes: np.ndarray | None = None, **more: bool) -> Panel:
    return Panel("p", values, weights, codes, 0.0, 1.0, grammar.WEIGHT_COLOURS, None, **more)


def cut(array: np.ndarray, side: int) -> list[list[np.ndarray]]:
    rows, columns = (range(0, n, side) for n in array.shape)
    return [[array[r : r + side, c : c + side] for c in columns] for r in rows]


def in_loop(array: np.ndarray, side: int, of: Callable[[np.ndarray], float]) -> np.ndarray:
    return np.array([[of(block) for block in line] for line in cut(array, side)], dtype=array.dtype)


def largest(block: np.ndarray) -> float:
    return float(np.fmax.reduce(block, axis=None))


def farthest(block: np.ndarray) -> float:
    there = block[~np.isnan(block)]
    return float(there[np.abs(there).argmax()]) if there.size else np.nan


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("side", [1, 2, 6])
def test_a_part_shows_the_largest_of_its_blocks_and_their_worst_state(part: tuple[slice, slice], side: int) -> None:
    (found,) = panel.blocks([drawn(WEIGHTS[0] / 2, WEIGHTS[0], CODES)], side, *part)
    np.testing.assert_array_equal(found.weights, in_loop(WEIGHTS[0][part], side, largest))
    np.testing.assert_array_equal(found.values, in_loop(WEIGHTS[0][part] / 2, side, largest))
    np.testing.assert_array_equal(found.codes, pooling.worst(CODES[part], side))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("side", [1, 2, 6])
def test_a_signed_panel_shows_what_is_farthest_from_0(part: tuple[slice, slice], side: int) -> None:
    change = WEIGHTS[0] - WEIGHTS[1]
    (found,) = panel.blocks([drawn(change, change, signed=True)], side, *part)
    np.testing.assert_array_equal(found.weights, in_loop(change[part], side, farthest))
    assert found.values is found.weights
    assert found.codes is None


def test_all_cells_are_the_panels_themselves() -> None:
    whole = [drawn(WEIGHTS[0], WEIGHTS[0])]
    assert panel.blocks(whole, 1)[0] is whole[0]


def test_states_that_panels_share_stay_shared() -> None:
    alone = CODES.copy()
    found = panel.blocks([drawn(WEIGHTS[h], WEIGHTS[h], codes) for h, codes in ((0, CODES), (1, CODES), (1, alone))], 2)
    assert found[0].codes is found[1].codes
    assert found[2].codes is not found[0].codes


def test_the_factor_counts_the_cells_of_all_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    panels = [drawn(WEIGHTS[0], WEIGHTS[0])] * 4
    assert panel.factor(panels) == 1
    assert panel.factor(panels, 4 * LENGTH * KEYS) == 1
    assert panel.factor(panels, LENGTH * KEYS) == 2
    monkeypatch.setattr(pooling, "MAX_CELLS", LENGTH * KEYS // 4)
    assert panel.factor(panels) == 5
