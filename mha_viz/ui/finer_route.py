"""The route of finer cells: one rectangle of a pooled figure's panels, in blocks of the size that was asked for.

The answer is laid out as a figure's message is (wire.py). Its header has `top`, `left`, `side`, how many blocks there
are (`rows`, `columns`), each of `panels` or null, and where they are exact cells with names, `queries` and `keys`.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, fields

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mha_viz import environment
from mha_viz.errors import CapacityError, InputError, MhaVizError
from mha_viz.ui import exhausted, finer
from mha_viz.ui.buffers import Body, as_json, packed
from mha_viz.ui.finer import Cells, Finer, Source
from mha_viz.ui.raster import Raster, placed, raster, wait
from mha_viz.ui.skeleton import text
from mha_viz.ui.values import PREFIX

MOST = 640
"""Blocks that one answer may have along each side of a panel."""


@dataclass(frozen=True)
class Part:
    """A rectangle of cells and the cells along each block that it is shown in."""

    top: int
    left: int
    rows: int
    columns: int
    side: int

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns, in blocks."""
        return -(-self.rows // self.side), -(-self.columns // self.side)


class FinerRoute:
    """Answers `GET /mha-viz/finer/{token}?top=&left=&rows=&columns=&side=`, all in cells of the whole.

    Args:
        at_once: How many answers are computed at a time, so that many who zoom leave threads for everything else;
            half the cores if None.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self._free = asyncio.Semaphore(at_once or max(1, environment.cores() // 2))

    def route(self) -> Route:
        """Return the route itself."""
        return Route(f"{PREFIX}/finer/{{token}}", self.answer, methods=["GET"])

    async def answer(self, request: Request) -> Response:
        """Answer with the cells; else 404, 400, 422 or 503 and one sentence."""
        source = finer.sources.get(request.path_params["token"])
        if source is None:
            return _sentence("These cells are no longer kept; they are there again with the next run.", 404)
        try:
            part = part_of(request.query_params, source.finer)
        except InputError as error:
            return _sentence(str(error), 400)
        async with self._free:
            if await request.is_disconnected():  # who zooms on asks anew and drops what still waits
                return Response(status_code=204)
            try:
                body = await run_in_threadpool(message, source, part)
            except CapacityError as error:
                return _sentence(str(error), 503)
            except MhaVizError as error:
                return _sentence(str(error), 422)
        headers = {"content-encoding": "identity", "cache-control": "no-store"}  # it names values that may be dropped
        return Response(body, media_type="application/octet-stream", headers=headers)


def _sentence(words: str, status: int) -> Response:
    return Response(text(words), status_code=status, media_type="text/plain", headers={"cache-control": "no-store"})


def part_of(query: QueryParams, whole: Finer) -> Part:
    """Return the part that an address asks for.

    Raises:
        InputError: A number is missing or none, or the part is outside of the whole, not in line with its blocks, or
            too large.
    """
    found = {}
    for name in (field.name for field in fields(Part)):
        given = query.get(name, "")
        if not re.fullmatch(r"[0-9]{1,9}", given):
            raise InputError(f"{name} must be a whole number of at most 9 digits, not {given[:40]!r}.")
        found[name] = int(given)
    part = Part(**found)
    ends = (("rows", part.top, part.rows, whole.rows), ("columns", part.left, part.columns, whole.columns))
    if not 1 <= part.side <= whole.side:
        raise InputError(f"side must be from 1 to {whole.side}, not {part.side}.")
    for name, start, count, end in ends:
        if count < 1 or start + count > end:
            raise InputError(f"{name} must be within 0 to {end}, not {start} to {start + count}.")
        if start % part.side:
            raise InputError(f"{name} must start at a multiple of the side {part.side}, not at {start}.")
    if max(part.blocks) > MOST:
        raise InputError(f"a part may have {MOST} × {MOST} blocks, not {part.blocks[0]} × {part.blocks[1]}.")
    return part


def message(source: Source, part: Part) -> bytes:
    """Return the bytes of a part of a figure.

    Raises:
        CapacityError: The memory ran out.
        MhaVizError: The cells cannot be computed.
    """
    rows, columns = slice(part.top, part.top + part.rows), slice(part.left, part.left + part.columns)
    body = Body()
    with exhausted.memory():
        cells = source.finer.read(rows, columns, part.side)
        panels = [_raster(one, low, high, body) for one, (low, high) in zip(cells, source.ranges, strict=True)]
    later = wait(panels)
    names = zip((source.finer.query_tokens, source.finer.key_tokens), source.finer.named, (rows, columns), strict=True)
    shown = [[text(name) for name in all_[at]] if named and part.side == 1 else None for all_, named, at in names]
    header = {
        "top": part.top,
        "left": part.left,
        "side": part.side,
        "rows": part.blocks[0],
        "columns": part.blocks[1],
        "panels": [None if panel is None else placed(panel, body, later) for panel in panels],
        "queries": shown[0],
        "keys": shown[1],
    }
    return packed(as_json(header), body)


def _raster(cells: Cells | None, low: float, high: float, body: Body) -> Raster | None:
    if cells is None:
        return None
    shown, exact = body.array(cells.shown, "<f4"), body.array(cells.exact, "<f4")
    codes = None if cells.codes is None else body.array(cells.codes, "u1")
    return raster(shown, None if exact is shown else exact, codes, low, high)
