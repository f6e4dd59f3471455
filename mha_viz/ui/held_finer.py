"""Finer cells of figures whose weights are held, read where the browser has zoomed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mha_viz.attention.runs import Run
from mha_viz.figures import heads
from mha_viz.figures.grammar import Spec
from mha_viz.figures.panel import Panel, blocks
from mha_viz.ui import cached, origin
from mha_viz.ui.finer import Cells, Finer, digest
from mha_viz.ui.origin import Origin
from mha_viz.ui.view import View

Names = tuple[Sequence[str], Sequence[str]]
"""Of all queries and keys."""


def of_grid(source: Origin, run: Run, view: View, spec: Spec) -> Finer:
    """Return where the picture of all heads gets finer cells from.

    Args:
        source: Where the run comes from; each look asks it anew, for the run may be dropped before the picture is.
        run: The run.
        view: What of it is shown.
        spec: The figure.
    """

    def panels() -> list[Panel]:
        return heads.head_panels(cached.run(source), layer=view.layer, item=view.item, scale=view.colours)

    return of(panels, spec, _names(run, view), (origin.key(source), view.layer, view.item, view.colours))


def of_detail(source: Origin, run: Run, view: View, spec: Spec) -> Finer:
    """Return where the picture of the average, one head and its mask gets finer cells from; arguments as `of_grid`."""

    def panels() -> list[Panel]:
        return heads.detail_panels(cached.run(source), view.head, layer=view.layer, item=view.item, scale=view.colours)

    return of(panels, spec, _names(run, view), (origin.key(source), view.layer, view.item, view.colours, view.head))


def of(panels: Callable[[], Sequence[Panel]], spec: Spec, names: Names, about: object) -> Finer:
    """Return where a figure gets finer cells from.

    Args:
        panels: Makes the figure's panels with all their cells, now and at any later time.
        spec: The figure.
        names: Of all L queries and S keys.
        about: What the panels come from: the same for the same picture, and for no other.
    """

    def read(rows: slice, columns: slice, side: int) -> list[Cells]:
        return [Cells(part.values, part.weights, part.codes) for part in blocks(panels(), side, rows, columns)]

    side = spec["layout"]["meta"]["pool"]
    return Finer(len(names[0]), len(names[1]), side, read, digest(about), *names)


def _names(run: Run, view: View) -> Names:
    return run.query_tokens(view.item, view.layer), run.key_tokens(view.item, view.layer)
