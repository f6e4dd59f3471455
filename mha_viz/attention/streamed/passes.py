"""What passes over heads left behind, within a byte budget; what was not asked for longest goes first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import cachetools

from mha_viz.attention.streamed.results import HeadPass
from mha_viz.attention.streamed.signals import Stop
from mha_viz.attention.streamed.workers import POLL, Stopped


class Passes:
    """Results by item, head and size; several threads may use one object."""

    def __init__(self, limit: float) -> None:
        """Take how many bytes may be kept."""
        self._lock = threading.Lock()
        self._turn = threading.RLock()  # what hears of a pass's progress may ask for another one
        self._kept: cachetools.LRUCache[tuple[int, int, int], HeadPass] = cachetools.LRUCache(
            limit, getsizeof=lambda found: found.nbytes
        )

    @property
    def nbytes(self) -> float:
        """How many bytes are kept."""
        return self._kept.currsize

    def found(
        self,
        item: int,
        heads: Sequence[int],
        size: int,
        rows: bool,
        output: bool,
        stop: Stop,
        make: Callable[[list[int]], dict[int, HeadPass]],
    ) -> list[HeadPass]:
        """Return what passes over some heads found.

        Args:
            item: Index of the batch item.
            heads: Indices of the heads.
            size: Rows and columns of the overviews at most.
            rows: Whether the statistics of rows are asked for, and
            output: the output too.
            stop: Called while another thread's pass is waited for.
            make: Makes a pass over the heads of which nothing, or too little, is kept.

        Raises:
            Stopped: `stop` returned True.
        """
        found = self._of(item, heads, size, rows, output)
        if len(found) < len(set(heads)):
            with self._alone(stop):
                found = self._of(item, heads, size, rows, output)
                missing = [head for head in dict.fromkeys(heads) if head not in found]
                made = make(missing) if missing else {}
                self._keep(item, size, made)
            found |= made
        return [found[head] for head in heads]

    def any_of(self, item: int, head: int) -> HeadPass | None:
        """Return what any pass over a head found; the normalisers are the same in all."""
        with self._lock:
            where = next((key for key in self._kept if key[:2] == (item, head)), None)
            return None if where is None else self._kept[where]

    def _of(self, item: int, heads: Iterable[int], size: int, rows: bool, output: bool) -> dict[int, HeadPass]:
        with self._lock:
            kept = {head: self._kept.get((item, head, size)) for head in heads}
        return {head: found for head, found in kept.items() if found is not None and found.holds(rows, output)}

    def _keep(self, item: int, size: int, made: dict[int, HeadPass]) -> None:
        with self._lock:
            for head, found in made.items():
                if found.nbytes <= self._kept.maxsize:
                    self._kept[item, head, size] = found

    @contextmanager
    def _alone(self, stop: Stop) -> Iterator[None]:
        """Wait until no other pass is being made: what one thread is finding, the next need not compute again."""
        while not self._turn.acquire(timeout=POLL):
            if stop():
                raise Stopped
        try:
            yield
        finally:
            self._turn.release()
