"""The weights of a layer with long sequences: any part of them exactly, and never the L × S matrix."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import cachetools
import torch
from torch import Tensor

from mha_viz.attention.streamed import plan
from mha_viz.attention.streamed.operands import BITS, Operands
from mha_viz.attention.streamed.results import HeadPass
from mha_viz.attention.streamed.sight import Sight
from mha_viz.attention.streamed.statistics import StreamedStats, of_heads
from mha_viz.attention.streamed.sweep import Sweep, blank, complete, normalisers
from mha_viz.attention.streamed.workers import in_order
from mha_viz.errors import InputError
from mha_viz.masks import Mask, ScoreBias
from mha_viz.masks import mask as read_mask

Stop = Callable[[], bool]
Progress = Callable[[float], None]

SMALLEST, LARGEST = 64, 4_096  # sides of an overview


def _never() -> bool:
    return False


def _unheard(share: float) -> None:
    """Take a share of the work that is done, and tell nobody."""


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
            threads: How many compute at once; those of torch if None.
            limit_mb: How much the object may keep of what it found, in units of 2**20 bytes.
        """
        dtype = torch.float64 if query.dtype == torch.float64 else torch.float32
        n, heads, length, dim = query.shape
        sizes = (n, heads, length, key.shape[2] - extra_keys)
        sight = Sight(read_mask(mask), bias, key_lengths, sizes, extra_keys)
        scaled = query.detach().to(dtype) * math.sqrt(1 / dim)
        own = None if value is None else value.detach().to(dtype).contiguous()
        self._operands = Operands(scaled.contiguous(), key.detach().to(dtype).contiguous(), own, sight)
        self._threads = threads
        self._lock = threading.Lock()
        self._passes: cachetools.LRUCache[tuple[int, int, int], HeadPass] = cachetools.LRUCache(
            limit_mb * 2**20, getsizeof=lambda found: found.nbytes
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, H, L and S of the weights, extra columns included."""
        n, heads, length, _ = self._operands.query.shape
        return n, heads, length, self._operands.key.shape[2]

    def prepare(
        self,
        heads: Iterable[int] | None = None,
        *,
        item: int = 0,
        size: int = 512,
        rows: bool = False,
        output: bool = False,
        stop: Stop = _never,
        progress: Progress = _unheard,
    ) -> None:
        """Make one pass over the heads that have not been passed over yet, so that what follows costs nothing.

        Args:
            heads: Which; all if None.
            item: Index of the batch item.
            size: Rows and columns of the overviews, at most; from 64 to 4,096.
            rows: Find the statistics of each row too.
            output: Find weights · V too, with the statistics.
            stop: Called from this thread some times a second; the pass ends when it returns True.
            progress: Called from this thread with the share that is done, from 0 to 1.

        Raises:
            Stopped: `stop` returned True; nothing of this pass is kept.
            InputError: There is no such head, item or size, or no values for an output.
            MaskError: The mask divides by zero somewhere.
        """
        self._found(self._checked(heads, item, size, output), item, size, rows or output, output, stop, progress)

    def overview(
        self,
        head: int,
        size: int = 512,
        pool: Literal["max", "mean"] = "max",
        item: int = 0,
        *,
        stop: Stop = _never,
        progress: Progress = _unheard,
    ) -> Tensor:
        """Return one head's weights pooled over blocks of ceil(L / size) × ceil(S / size) cells.

        NaN rows are left out, as in all pooled pictures; a block that holds nothing else is NaN.

        Returns:
            [rows, columns], each at most `size`; shared, so it must not be changed.
        """
        if pool not in ("max", "mean"):
            raise InputError(f"pool must be 'max' or 'mean', not {pool!r}.")
        (found,) = self._found(self._checked([head], item, size), item, size, False, False, stop, progress)
        return found.largest if pool == "max" else found.mean

    def stats(
        self,
        item: int = 0,
        *,
        heads: Iterable[int] | None = None,
        size: int = 512,
        output: bool = False,
        stop: Stop = _never,
        progress: Progress = _unheard,
    ) -> StreamedStats:
        """Return the statistics of heads and of each of their rows; the same pass gives their overviews."""
        chosen = self._checked(heads, item, size, output)
        return of_heads(chosen, self._found(chosen, item, size, True, output, stop, progress))

    def window(self, head: int, rows: slice, cols: slice, item: int = 0) -> Tensor:
        """Return the exact weights of some queries and keys, [rows, cols]; rows that see no key are NaN.

        The slices count as for a list, with a step of 1.
        """
        return self.windows([head], rows, cols, item)[0]

    def windows(self, heads: Iterable[int] | None, rows: slice, cols: slice, item: int = 0) -> Tensor:
        """Return the same window of several heads, all if None: [heads, rows, cols], each computed by one thread."""
        chosen = self._checked(heads, item, SMALLEST)
        wanted, keys = (_resolved(part, n) for part, n in zip((rows, cols), self.shape[2:], strict=True))
        found = self._operands.key.new_empty(len(chosen), wanted.stop - wanted.start, keys.stop - keys.start)

        def write(index: int, _: Stop) -> None:
            reference, inverse = self._normalisers(item, chosen[index], wanted)
            scores = self._operands.block(found[index], item, chosen[index], wanted, keys)
            scores.sub_(reference[:, None]).mul_(BITS).exp2_().mul_(inverse[:, None])

        with torch.no_grad():
            list(in_order([partial(write, index) for index in range(len(chosen))], self._workers, _never))
        return found

    def row(self, head: int, query: int, item: int = 0) -> Tensor:
        """Return the weights of one query over all keys, [S]."""
        if not 0 <= query < self.shape[2]:
            raise InputError(f"query must be from 0 to {self.shape[2] - 1}, not {query}.")
        return self.window(head, slice(query, query + 1), slice(None), item)[0]

    def log_sum_exp(self, head: int, item: int = 0) -> Tensor:
        """Return the natural logarithm of each row's softmax denominator, [L]; -inf for a row that sees no key."""
        self._checked([head], item, SMALLEST)
        with torch.no_grad():
            reference, inverse = self._normalisers(item, head, slice(0, self.shape[2]))
        return reference - inverse.log()

    @property
    def _workers(self) -> int:
        """How many threads compute at once; a GPU has its own."""
        return 1 if self._operands.key.device.type != "cpu" else self._threads or torch.get_num_threads()

    def _checked(self, heads: Iterable[int] | None, item: int, size: int, output: bool = False) -> list[int]:
        n, count, _, _ = self.shape
        chosen = list(range(count) if heads is None else heads)
        for name, value, end in (("item", item, n), *(("head", head, count) for head in chosen)):
            if not 0 <= value < end:
                raise InputError(f"{name} must be from 0 to {end - 1}, not {value}.")
        if not SMALLEST <= size <= LARGEST:
            raise InputError(f"size of an overview must be from {SMALLEST} to {LARGEST:,}, not {size}.")
        if output and self._operands.value is None:
            raise InputError("output needs the projected values, but none were given: pass value.")
        return chosen

    def _found(
        self, heads: list[int], item: int, size: int, rows: bool, output: bool, stop: Stop, progress: Progress
    ) -> list[HeadPass]:
        with self._lock:
            found = {head: self._passes.get((item, head, size)) for head in heads}
            missing = [head for head, there in found.items() if there is None or not there.holds(rows, output)]
            if missing:
                made = self._passed(missing, item, size, rows, output, stop, progress)
                found.update(made)
                for head, result in made.items():
                    if result.nbytes <= self._passes.maxsize:
                        self._passes[item, head, size] = result
            return [result for result in found.values() if result is not None]

    def _passed(
        self, heads: list[int], item: int, size: int, rows: bool, output: bool, stop: Stop, progress: Progress
    ) -> dict[int, HeadPass]:
        operands = self._operands
        cut = plan.cut_for(operands.key.device)
        if rows:
            cut = cut.for_statistics(self.shape[3], self._workers)
        into = {head: blank(operands, size, rows=rows, output=output) for head in heads}
        sweep = Sweep(operands, item, size, into, cut)
        with torch.no_grad():
            tasks = sweep.tasks()
            for done, masses in enumerate(in_order(tasks, self._workers, stop), start=1):
                for head, mass in masses.items():
                    statistics = into[head].rows
                    assert statistics is not None
                    statistics.column_mass.add_(mass)
                progress(done / len(tasks))
            return {head: complete(found, self.shape[3], sweep.sides[1]) for head, found in into.items()}

    def _normalisers(self, item: int, head: int, rows: slice) -> tuple[Tensor, Tensor]:
        """Return reference and inverse of some rows, from any pass over the head or from these rows alone."""
        with self._lock:
            known = next((f for (i, h, _), f in self._passes.items() if (i, h) == (item, head)), None)
        if known is not None:
            return known.reference[rows], known.inverse[rows]
        return normalisers(self._operands, (item, head), rows, plan.cut_for(self._operands.key.device))


def _resolved(part: slice, length: int) -> slice:
    start, stop, step = part.indices(length)
    if step != 1:
        raise InputError(f"a window takes neighbouring rows and columns, so the step must be 1, not {step}.")
    return slice(start, max(start, stop))
