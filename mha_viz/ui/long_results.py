"""What is computed of a long sequence, head by head: kept for everyone, and found by jobs that people share."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import cachetools

from mha_viz.attention.stats import HeadStats, Summary
from mha_viz.attention.streamed import StreamedAttention
from mha_viz.attention.streamed.signals import Progress, Stop, never, unheard
from mha_viz.figures import long_heads
from mha_viz.figures.long_heads import Blocks, HeadPicture
from mha_viz.remember import remembered
from mha_viz.ui import jobs, threads
from mha_viz.ui.jobs import Job

AT_ONCE = 2**27
"""Cells of all heads up to which a page computes them itself, in about a fifth of a second; a job takes the others."""

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Layer:
    """One item of one streamed layer.

    Attributes:
        key: What it comes from, as caches and jobs know it.
        streamed: The layer.
        item: Batch item.
    """

    key: Hashable
    streamed: StreamedAttention
    item: int

    @property
    def heads(self) -> int:
        """How many there are."""
        return self.streamed.shape[1]

    @property
    def blocks(self) -> Blocks:
        """How its weights are cut in pictures."""
        return Blocks.of(*self.streamed.shape[2:], self.heads)

    @property
    def light(self) -> bool:
        """Whether all heads take so little that nobody need wait."""
        _, heads, length, keys = self.streamed.shape
        return heads * length * keys <= AT_ONCE


def _subject(layer: Layer) -> Hashable:
    return layer.key, layer.item


def _at(layer: Layer, head: int, stop: Stop, progress: Progress) -> Hashable:
    return layer.key, layer.item, head


def _picture_bytes(found: HeadPicture) -> int:
    return found.nbytes


def _statistics_bytes(found: tuple[HeadStats, Summary]) -> int:
    return 500


@remembered(128, key=_at, size=_picture_bytes)
def _picture(layer: Layer, head: int, stop: Stop, progress: Progress) -> HeadPicture:
    return long_heads.picture(layer.streamed, layer.blocks, layer.item, head, stop=stop, progress=progress)


@remembered(1, key=_at, size=_statistics_bytes)
def _statistics(layer: Layer, head: int, stop: Stop, progress: Progress) -> tuple[HeadStats, Summary]:
    found = layer.streamed.stats(layer.item, heads=[head], size=layer.blocks.size, stop=stop, progress=progress)
    return found.heads[0], found.summary


@dataclass(frozen=True)
class Kind(Generic[R]):
    """Something that is computed of each head.

    Attributes:
        name: What jobs and widgets call it.
        one: Computes it of one head; remembered.
        rows: Whether it needs the statistics of rows.
    """

    name: str
    one: Callable[[Layer, int, Stop, Progress], R]
    rows: bool

    def known(self, layer: Layer) -> list[R | None]:
        """Return what is kept of each head; None where it is not there."""
        kept: cachetools.Cache[Hashable, R] = self.one.cache  # type: ignore[attr-defined]  # cachetools adds it
        lock: Any = self.one.cache_condition  # type: ignore[attr-defined]
        with lock:
            return [kept.get(_at(layer, head, never, unheard)) for head in range(layer.heads)]

    def job(self, layer: Layer) -> Hashable:
        """Return what a job is known by."""
        return self.name, _subject(layer)

    def start(self, layer: Layer, who: str) -> Job:
        """Compute what is missing in a job, which may be running already."""
        return jobs.of_server().start(self.job(layer), lambda job: self._work(layer, job), who, _subject(layer))

    def at_once(self, layer: Layer) -> list[R]:
        """Return all of it, what is missing computed now, in one pass over all heads; other pages are drawn first."""
        missing = self._missing(layer)
        layer.streamed.prepare(missing, item=layer.item, size=layer.blocks.size, rows=self.rows, stop=threads.give_way)
        return [self.one(layer, head, never, unheard) for head in range(layer.heads)]

    def _missing(self, layer: Layer) -> list[int]:
        return [head for head, found in enumerate(self.known(layer)) if found is None]

    def _work(self, layer: Layer, job: Job) -> None:
        missing = self._missing(layer)
        for done, head in enumerate(missing):
            with job.turn():  # one for each head, so that others come in between
                self.one(layer, head, job.stop, partial(_tell, job, done, len(missing)))


def _tell(job: Job, done: int, of: int, share: float) -> None:
    job.progress((done + share) / of)


PICTURES = Kind("pictures", _picture, rows=False)
STATISTICS = Kind("statistics", _statistics, rows=True)


def together(found: list[Summary]) -> Summary:
    """Return the numbers of all heads together, from those of each."""
    lows, highs = ([s.row_sum_low for s in found], [s.row_sum_high for s in found])
    return Summary(
        masked=sum(s.masked for s in found) / len(found),
        nan_rows=sum(s.nan_rows for s in found),
        rows=sum(s.rows for s in found),
        row_sum_low=min((low for low in lows if not math.isnan(low)), default=math.nan),
        row_sum_high=max((high for high in highs if not math.isnan(high)), default=math.nan),
        leaked=sum(s.leaked for s in found) / len(found),
        violations=sum(s.violations for s in found),
    )
