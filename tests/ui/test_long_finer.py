"""Finer cells of long sequences: exact, coloured as the picture is, and refused where they cost too much."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from mha_viz.attention.streamed import StreamedAttention, streamed
from mha_viz.figures import grammar, long, pooling
from mha_viz.figures.grammar import MASKED, NAN, SCALES, Scale
from mha_viz.figures.long_heads import HeadPicture
from mha_viz.scenario import Scenario
from mha_viz.ui import long_finer, long_words
from mha_viz.ui.finer import Finer
from mha_viz.ui.long_results import PICTURES, Layer

S = Scenario(source="normal", query_len=1_500, num_heads=2, embed_dim=16, mask="causal & (q > 20)")
UNNAMED: long_finer.Names = ((), ())
ROWS, COLUMNS = slice(90, 150), slice(60, 120)


@cache
def weights() -> StreamedAttention:
    return streamed(S)


def find() -> Layer:
    return Layer("finer", weights(), 0)


@cache
def found() -> list[HeadPicture]:
    return PICTURES.at_once(find())


def grid(scale: Scale = "shared") -> Finer:
    return long_finer.of_grid(find, found(), scale, UNNAMED)


def test_zoomed_in_each_weight_is_exact() -> None:
    cells = grid().read(ROWS, COLUMNS, 1)
    expected = weights().windows(None, ROWS, COLUMNS).numpy()
    for head, each in enumerate(cells):
        assert each is not None
        np.testing.assert_array_equal(each.exact, expected[head])
        assert each.shown is each.exact
        assert each.codes is not None
        above = np.arange(60, 120)[None, :] > np.arange(90, 150)[:, None]
        np.testing.assert_array_equal(each.codes == MASKED, above)


def test_smaller_blocks_are_the_largest_of_their_cells() -> None:
    cells = grid().read(ROWS, COLUMNS, 2)
    expected = weights().windows(None, ROWS, COLUMNS).numpy()
    assert [each is not None for each in cells] == [True, True]
    for head, each in enumerate(cells):
        assert each is not None
        np.testing.assert_allclose(each.exact, pooling.largest(expected[head], 2), atol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_finer_cells_have_the_colours_of_the_picture(scale: Scale) -> None:
    side = find().blocks.side
    part = slice(10 * side, 20 * side)
    spec = long.grid(found(), ["head 0", "head 1"], find().blocks, scale)
    drawn = [trace for trace in spec["data"] if trace["meta"]["layer"] == "weights"]
    for trace, each in zip(drawn, grid(scale).read(part, part, side), strict=True):
        assert each is not None
        np.testing.assert_allclose(each.shown, trace["z"][10:20, 10:20], rtol=1e-4, atol=1e-6)


def test_rows_that_see_nothing_are_nan() -> None:
    (first, _) = grid().read(slice(0, 60), slice(0, 60), 1)
    assert first is not None
    assert first.codes is not None
    assert (first.codes[:21] == NAN).all()
    assert not (first.codes[21:] == NAN).any()


def test_a_head_that_the_picture_does_not_show_stays_empty() -> None:
    finer = long_finer.of_grid(find, [None, found()[1]], "shared", UNNAMED)
    first, second = finer.read(ROWS, COLUMNS, 1)
    assert first is None
    assert second is not None
    np.testing.assert_array_equal(second.exact, weights().window(1, ROWS, COLUMNS).numpy())
    assert finer.key != grid().key


def test_the_average_is_exact_where_cells_are() -> None:
    finer = long_finer.of_detail(find, found(), 1, "per row", UNNAMED)
    one, average = finer.read(ROWS, COLUMNS, 1)
    exact = weights().windows(None, ROWS, COLUMNS).numpy()
    assert one is not None
    assert average is not None
    np.testing.assert_array_equal(one.exact, exact[1])
    np.testing.assert_allclose(average.exact, exact.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(average.shown, grammar.scaled(average.exact[None], "log")[0][0])


def test_pictures_have_different_names_for_what_they_read_from() -> None:
    finers = [grid(scale) for scale in SCALES]
    finers += [long_finer.of_detail(find, found(), head, "shared", UNNAMED) for head in range(2)]
    assert len({finer.key for finer in finers}) == len(finers)
    assert grid().key == grid().key


def test_what_takes_too_long_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_finer, "MOST_CELLS", 2 * 60 * 60)
    assert None not in [None if each is None else 1 for each in grid().read(ROWS, COLUMNS, 1)]
    assert grid().read(slice(90, 153), COLUMNS, 1) == [None, None]
    assert long_finer.of_detail(find, found(), 0, "shared", UNNAMED).read(ROWS, COLUMNS, 1) == [None, None]


def test_the_time_left_is_said_in_seconds_and_minutes() -> None:
    assert long_words.time_left(None) == ""
    assert long_words.time_left(0.2) == ", about 1 s left"
    assert long_words.time_left(61.5) == ", about 62 s left"
    assert long_words.time_left(150) == ", about 3 min left"
