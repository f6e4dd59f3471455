"""The calls of a large pass on a Ray cluster: what travels there, what is computed, and where it goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor
from torch.utils.dlpack import from_dlpack

from mha_viz import cluster
from mha_viz.attention.streamed.operands import Operands
from mha_viz.attention.streamed.plan import Cut
from mha_viz.attention.streamed.results import HeadPass
from mha_viz.attention.streamed.sight import Sight
from mha_viz.attention.streamed.signals import Stop, never
from mha_viz.attention.streamed.sweep import Call, Masses, Sweep, blank
from mha_viz.attention.streamed.workers import Stopped, in_order
from mha_viz.cluster import Array, Gateway

# Measured: a pass costs 0.3 s more on a cluster, and the first one 5 s; two cores do so many cells in 2 s.
LEAST_CELLS = 2**29
ROOM = 2**26  # bytes of overviews that one call makes room for

Piece = dict[int, list[Array]]  # by head: what a call found of its rows, and where there are statistics its column mass


@dataclass(frozen=True, eq=False)
class Pass:
    """What all calls of a pass have in common, beside the tensors that they are computed from.

    Attributes:
        sight: Masks, bias and padding.
        item: Index of the batch item.
        size: Rows and columns of the overview at most.
        cut: The largest pieces, which decide how sums are rounded: those of the machine that asks.
        rows: Whether statistics of rows are asked for.
        output: Whether the output is.
        device: Type of the device to compute on.
    """

    sight: Sight
    item: int
    size: int
    cut: Cut
    rows: bool
    output: bool
    device: str

    @classmethod
    def of(cls, sweep: Sweep) -> Pass:
        """Return what is known of a sweep."""
        statistics = next(iter(sweep.into.values())).rows
        output = statistics is not None and statistics.output is not None
        device = sweep.operands.key.device.type
        return cls(sweep.operands.sight, sweep.item, sweep.size, sweep.cut, statistics is not None, output, device)

    def arrays(self, operands: Operands) -> list[Array]:
        """Return query [H, L, D], key [H, S, D], and for an output the value [H, S, D], of the item that is passed."""
        value = [operands.value] if self.output and operands.value is not None else []
        return [_array(tensor[self.item]) for tensor in (operands.query, operands.key, *value)]

    def operands(self, arrays: Sequence[Array]) -> Operands:
        """Return operands made of these, in which every item is the one that is passed."""
        items = self.sight.sizes[0]
        query, key, *value = (from_dlpack(a).to(self.device).expand(items, -1, -1, -1) for a in arrays)
        return Operands(query, key, value[0] if value else None, self.sight)


def computed(of: Pass, arrays: Sequence[Array], call: Call) -> Piece:
    """Return what one call finds; it runs on a node of the cluster."""
    operands = of.operands(arrays)
    into = {head: blank(operands, of.size, rows=of.rows, output=of.output) for head in call.heads}
    sweep = Sweep(operands, of.item, of.size, into, of.cut)
    masses = sweep.do(call, never)
    return {
        head: [_array(part) for part in (*_parts(sweep, call.span, found), *([masses[head]] if found.rows else []))]
        for head, found in into.items()
    }


def swept(sweep: Sweep, threads: int, stop: Stop) -> Iterator[tuple[float, Masses]]:
    """Do all calls of a sweep, on the cluster if there is one and the pass is large, else by threads of this process.

    Yields:
        The share that is done, and the next part of the column mass.

    Raises:
        Stopped: `stop` returned True; no task is running any more.
        DeviceError: The cluster does not answer, or was lost.
    """
    cells = len(sweep.into) * sweep.operands.query.shape[2] * sweep.operands.key.shape[2]
    if cells >= LEAST_CELLS and cluster.address():
        with cluster.joined() as way:
            yield from _swept_there(sweep, way, threads, stop)
    else:
        yield from _swept_here(sweep, threads, stop)


def _swept_here(sweep: Sweep, threads: int, stop: Stop) -> Iterator[tuple[float, Masses]]:
    tasks = [partial(sweep.do, call) for call in sweep.calls(threads)]
    for done, masses in enumerate(in_order(tasks, threads, stop), start=1):
        yield done / len(tasks), masses


def _swept_there(sweep: Sweep, way: Gateway, threads: int, stop: Stop) -> Iterator[tuple[float, Masses]]:
    """Let the cluster do the calls, and write what they find where the sweep's own threads would have written it."""

    def check() -> None:
        if stop():
            raise Stopped

    device = sweep.operands.key.device
    places = way.places(device.type, check)
    if not places:  # no GPU there, say
        yield from _swept_here(sweep, threads, stop)
        return
    overview = next(iter(sweep.into.values())).largest
    of, calls = Pass.of(sweep), sweep.calls(places, most=max(1, ROOM // (2 * overview.nbytes)))
    arrays = of.arrays(sweep.operands)
    pieces = way.in_order(computed, of, arrays, calls, device=device.type, stop=check)
    for done, (call, piece) in enumerate(zip(calls, pieces, strict=True), start=1):
        yield done / len(calls), _written(sweep, call, piece)


def _written(sweep: Sweep, call: Call, piece: Piece) -> Masses:
    """Copy what a call found into the results, and return its part of the column mass."""
    masses = {}
    for head, arrays in piece.items():
        found = sweep.into[head]
        parts = _parts(sweep, call.span, found)
        for part, array in zip(parts, arrays[: len(parts)], strict=True):
            part.copy_(from_dlpack(array))
        if found.rows:
            masses[head] = from_dlpack(arrays[-1]).to(sweep.operands.key.device)
    return masses


def _parts(sweep: Sweep, span: int, found: HeadPass) -> list[Tensor]:
    """Return what one span writes of the results of a head, in an order of its own; the column mass is another's."""
    blocks, side = sweep.spans()[span], sweep.sides[0]
    start, stop = blocks[0][0], blocks[-1][1]
    by_line = [found.largest, found.mean, found.filled]
    by_row = [found.reference, found.inverse]
    by_row += [tensor for tensor in found.rows.tensors if tensor is not found.rows.column_mass] if found.rows else []
    lines = slice(start // side, -(-stop // side))
    return [*(tensor[lines] for tensor in by_line), *(tensor[start:stop] for tensor in by_row)]


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.cpu().numpy()
    return array
