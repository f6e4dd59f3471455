"""The weights of a layer with long sequences: any part of them exactly, and never the L × S matrix."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from mha_viz.attention.streamed import workers
from mha_viz.attention.streamed.asked import heads_of, rectangle
from mha_viz.attention.streamed.elsewhere import swept
from mha_viz.attention.streamed.fastest import cut_for
from mha_viz.attention.streamed.hidden import hidden
from mha_viz.attention.streamed.operands import Operands
from mha_viz.attention.streamed.passes import Passes
from mha_viz.attention.streamed.region import Region
from mha_viz.attention.streamed.results import HeadPass
from mha_viz.attention.streamed.sight import Sight
from mha_viz.attention.streamed.signals import Progress, Stop, never, unheard
from mha_viz.attention.streamed.statistics import StreamedStats, of_heads
from mha_viz.attention.streamed.sweep import Sweep, blank, complete, normalisers
from mha_viz.attention.windows import check_index, check_pool, check_size
from mha_viz.errors import InputError
from mha_viz.masks import Mask, ScoreBias
from mha_viz.masks import mask as read_mask

Pool = Literal["max", "mean"]


class StreamedAttention:
    """One attention layer's weights, computed where they are looked at.

    The first overview of a head costs one pass over its scores and leaves each row's normaliser behind; windows and
    rows are then exact products of a few queries and keys. Results are float32, or float64 for a float64 layer, on
    the device of the tensors; a bfloat16 or float16 layer is computed in float32 from its own projections.
    Several threads may use one object.
    """

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor | None = None,
        *,
        mask: Mask | str = "full",
        bias: ScoreBias | None = None,
        key_lengths: tuple[int, ...] | None = None,
        extra_keys: int = 0,
        threads: int | None = None,
        limit_mb: float = 256.0,
    ) -> None:
        """Take projected tensors, as `attention.direct.projected` makes them.

        Args:
            query: [N, H, L, D].
            key: [N, H, S, D], extra keys included.
            value: [N, H, S, D]; needed only for the output.
            mask: What each query may attend to.
            bias: Added to the scores.
            key_lengths: How many keys of each item are real; the others are hidden from all queries.
            extra_keys: How many of the keys, at the end, no mask hides: those of `add_bias_kv` and `add_zero_attn`.
            threads: How many compute at once; those of `workers.count` if None.
            limit_mb: How much the object may keep of what it found, in units of 2**20 bytes.
        """
        n, heads, length, _ = query.shape
        sizes = (n, heads, length, key.shape[2] - extra_keys)
        sight = Sight(read_mask(mask), bias, key_lengths, sizes, extra_keys)
        self._operands = Operands.of(query, key, value, sight)
        self._threads = threads
        self._passes = Passes(limit_mb * 2**20)

    @property
    def nbytes(self) -> int:
        """How many bytes it holds now: what the weights are computed from, and what passes have found."""
        own = [self._operands.query, self._operands.key, self._operands.value]
        return int(self._passes.nbytes) + sum(tensor.nbytes for tensor in own if tensor is not None)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, L and S of the weights, extra columns included."""
        n, heads, length, _ = self._operands.query.shape
        return n, heads, length, self._operands.key.shape[2]

    @property
    def by_head(self) -> bool:
        """Whether the mask is not the same for all heads."""
        return self._operands.sight.by_head

    def prepare(
        self,
        heads: Iterable[int] | None = None,
        *,
        item: int = 0,
        size: int = 512,
        rows: bool = False,
        output: bool = False,
        stop: Stop = never,
        progress: Progress = unheard,
    ) -> None:
        """Make one pass over the heads that have not been passed over yet, so that what follows costs nothing.

        Args:
            heads: Which; all if None.
            item: Index of the batch item.
            size: Rows and columns of the overviews, at most; from 64 to 4,096.
            rows: Find the statistics of each row too.
            output: Find weights · V too, with the statistics.
            stop: Called in this thread, and in those that compute, some times a second; the pass ends when it
                returns True.
            progress: Called from this thread with the share that is done, from 0 to 1.

        Raises:
            Stopped: `stop` returned True; nothing of this pass is kept.
            ScenarioError: There is no such head, item or size.
            InputError: There are no values for an output.
            MaskError: The mask divides by zero somewhere.
        """
        self._found(heads_of(self.shape, heads, item), item, size, rows or output, output, stop, progress)

    def overview(
        self,
        head: int,
        size: int = 512,
        pool: Pool = "max",
        item: int = 0,
        *,
        stop: Stop = never,
        progress: Progress = unheard,
    ) -> Tensor:
        """Return one head's weights pooled over blocks of ceil(L / size) × ceil(S / size) cells.

        NaN rows are left out, as in all pooled pictures; a block that holds nothing else is NaN.

        Returns:
            [rows, columns], each at most `size`; shared, so it must not be changed.
        """
        check_pool(pool)
        (found,) = self._found(heads_of(self.shape, [head], item), item, size, False, False, stop, progress)
        return found.largest if pool == "max" else found.mean

    def stats(
        self,
        item: int = 0,
        *,
        heads: Iterable[int] | None = None,
        size: int = 512,
        output: bool = False,
        stop: Stop = never,
        progress: Progress = unheard,
    ) -> StreamedStats:
        """Return the statistics of heads and of each of their rows; the same pass gives their overviews."""
        chosen = heads_of(self.shape, heads, item)
        return of_heads(chosen, self._found(chosen, item, size, True, output, stop, progress))

    def window(self, head: int, rows: slice, cols: slice, item: int = 0) -> Tensor:
        """Return the exact weights of some queries and keys, [rows, cols]; rows that see no key are NaN.

        The slices count as for a list, with a step of 1.
        """
        return self.windows([head], rows, cols, item)[0]

    def windows(self, heads: Iterable[int] | None, rows: slice, cols: slice, item: int = 0) -> Tensor:
        """Return the same window of several heads, all if None: [heads, rows, cols], each computed by one thread."""
        return self.region(heads, rows, cols, item=item)

    def region(
        self,
        heads: Iterable[int] | None,
        rows: slice,
        cols: slice,
        *,
        side: int = 1,
        pool: Pool = "max",
        item: int = 0,
        stop: Stop = never,
    ) -> Tensor:
        """Return weights of some queries and keys, pooled over blocks of `side` × `side` cells as an overview is.

        It costs the products of the region, and where no pass over a head was made, those of its rows with all keys.

        Args:
            heads: Which; all if None.
            rows: Queries, from a multiple of `side`.
            cols: Keys likewise.
            side: From 1, which is the exact window with its NaN rows, to 16,384.
            pool: What is shown of a block; NaN rows are left out.
            item: Index of the batch item.
            stop: As in `prepare`.

        Returns:
            [heads, ceil(rows / side), ceil(cols / side)].
        """
        check_pool(pool)
        chosen, ends = heads_of(self.shape, heads, item), rectangle(self.shape, rows, cols, side)
        part = Region(self._operands, self._normalisers, item, chosen, *ends)
        return part.exact(self._workers, stop) if side == 1 else part.pooled(side, pool, self._workers, stop)

    def hidden(
        self, rows: slice, cols: slice, *, side: int = 1, item: int = 0, head: int = 0, stop: Stop = never
    ) -> tuple[Tensor, Tensor]:
        """Return which blocks of a region are hidden from end to end; extra columns never are.

        Returns:
            Two bool tensors [ceil(rows / side), ceil(cols / side)]: the mask hides every cell; the padding does. They
            are shared, so they must not be changed.
        """
        heads_of(self.shape, [head], item)
        ends = rectangle(self.shape, rows, cols, side)
        found = hidden(self._operands.sight, (item, head), *ends, side, self._workers, stop)
        return found[0].to(self._operands.key.device), found[1].to(self._operands.key.device)

    def row(self, head: int, query: int, item: int = 0) -> Tensor:
        """Return the weights of one query over all keys, [S]."""
        check_index("query", query, self.shape[2])
        return self.window(head, slice(query, query + 1), slice(None), item)[0]

    def log_sum_exp(self, head: int, item: int = 0) -> Tensor:
        """Return the natural logarithm of each row's softmax denominator, [L]; -inf for a row that sees no key."""
        heads_of(self.shape, [head], item)
        with torch.no_grad():
            reference, inverse = self._normalisers(item, head, slice(0, self.shape[2]), never)
        return reference - inverse.log()

    @property
    def _workers(self) -> int:
        """How many threads compute at once; a GPU has its own."""
        return 1 if self._operands.key.device.type != "cpu" else self._threads or workers.count()

    def _found(
        self, heads: list[int], item: int, size: int, rows: bool, output: bool, stop: Stop, progress: Progress
    ) -> list[HeadPass]:
        check_size(size)
        if output and self._operands.value is None:
            raise InputError("output needs the projected values, but none were given: pass value.")
        make = partial(self._passed, item=item, size=size, rows=rows, output=output, stop=stop, progress=progress)
        return self._passes.found(item, heads, size, rows, output, stop, make)

    def _passed(
        self, heads: list[int], item: int, size: int, rows: bool, output: bool, stop: Stop, progress: Progress
    ) -> dict[int, HeadPass]:
        operands = self._operands
        cut = cut_for(operands.key, whole=operands.sight.hides_nothing(item, heads)).for_threads(self._workers)
        if rows:
            cut = cut.for_statistics(self.shape[3], self._workers)
        into = {head: blank(operands, size, rows=rows, output=output) for head in heads}
        sweep = Sweep(operands, item, size, into, cut)
        with torch.no_grad():
            for share, masses in swept(sweep, self._workers, stop):
                for head, mass in masses.items():
                    statistics = into[head].rows
                    assert statistics is not None
                    statistics.column_mass.add_(mass)
                progress(share)
            return {head: complete(found, self.shape[3], sweep.sides[1]) for head, found in into.items()}

    def _normalisers(self, item: int, head: int, rows: slice, stopped: Stop) -> tuple[Tensor, Tensor]:
        """Return reference and inverse of some rows, from any pass over the head or from these rows alone."""
        known = self._passes.any_of(item, head)
        if known is not None:
            return known.reference[rows], known.inverse[rows]
        return normalisers(self._operands, (item, head), rows, cut_for(self._operands.key), stopped)
