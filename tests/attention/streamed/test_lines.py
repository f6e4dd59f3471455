"""Rows of a picture against loops over the rows of weights that they stand for."""

from __future__ import annotations

import pytest
import torch

from mha_viz.attention.streamed.lines import Lines


@pytest.mark.parametrize(("rows", "side"), [((0, 12), 4), ((8, 17), 4), ((6, 9), 12), ((24, 36), 12), ((3, 5), 1)])
@pytest.mark.parametrize("bad", [(), (1,), (0, 1, 2), "all"])
def test_rows_are_pooled_and_those_left_out_are_not(rows: tuple[int, int], side: int, bad: tuple[int, ...]) -> None:
    start, stop = rows
    count = stop - start
    out = set(range(count)) if bad == "all" else set(bad)
    draw = torch.Generator().manual_seed(0)
    values, factor = torch.rand(5, count, generator=draw), torch.rand(count, generator=draw)
    for row in out & set(range(count)):
        values[:, row], factor[row] = torch.nan, torch.inf
    lines = Lines(rows, side, torch.tensor([row not in out for row in range(count)]))
    assert lines.place == slice(start // side, (stop - 1) // side + 1)
    largest, sums, filled = lines.largest(values), lines.sums(values.clone(), factor), lines.filled(torch.float32)
    for index, line in enumerate(range(lines.place.start, lines.place.stop)):
        inside = [row for row in range(count) if (start + row) // side == line and row not in out]
        assert filled[index] == len(inside)
        expected = (values[:, inside] * factor[inside]).sum(1)
        torch.testing.assert_close(sums[index], expected)
        assert torch.equal(largest[index], values[:, inside].amax(1) if inside else torch.full((5,), -1.0))
