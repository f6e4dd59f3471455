"""A class at once: N websocket sessions, each changing a setting every second, against one server process or two.

`one link`: everybody makes the same change within the same second, as when a teacher says so. `own settings`: everybody
looks at other settings, so that every change is computed. `beside 32,768 tokens`: the same, while one more person looks
at the whole of a long sequence, and then at the next. `2 processes`: half of the class sits at a second server, as
`deploy/nginx.conf` seats them.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from pathlib import Path

import psutil

from benchmarks.process import App, serving
from benchmarks.sessions import Session, SessionError
from benchmarks.table import Measured as Measurements
from benchmarks.table import Table, load

LINK = "source=normal&query_len=64&num_heads=8&mask=full"
HEAVY = "source=normal&query_len=32768&num_heads=8&mask=causal"
PERIOD = 1.0
AT_ONCE = 8
"""How many pages load at the same time at the start; browsers would spread theirs over longer."""


@dataclass
class Measured:
    """What one round of a class gave: seconds of each change, errors, and shares of one core."""

    changes: list[float] = field(default_factory=list)
    figures: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    server_cpu: float = 0.0
    own_cpu: float = 0.0

    def cells(self) -> list[str]:
        """Return the cells of a row of the table, without the first."""
        times = [quantile(self.changes, share) for share in (0.5, 0.95, 0.99)] + [quantile(self.figures, 0.95)]
        counts = [str(len(self.changes)), str(len(self.errors))]
        shares = [f"{self.server_cpu:.2f}", f"{self.own_cpu:.2f}", f"{load():.1f}"]
        return [*(f"{seconds * 1e3:.0f}" for seconds in times), *counts, *shares]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of them lies; not a number where there are none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


async def joined(stack: AsyncExitStack, apps: Sequence[App], people: int) -> list[Session]:
    """Open the sessions of a class, by turns at each server, and load the page in each."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def join(app: App) -> Session:
        async with gate:
            visitor = await stack.enter_async_context(Session(app.url, LINK))
            await visitor.load()
            return visitor

    return list(await asyncio.gather(*(join(apps[i % len(apps)]) for i in range(people))))


async def busy(visitor: Session, seed: Callable[[int], int], start: float, seconds: float, found: Measured) -> None:
    """Change the seed once a second; whoever gets an answer late asks again at once and never catches up."""
    due = start
    while (now := time.perf_counter()) < start + seconds:
        await asyncio.sleep(max(0.0, due - now))
        due = max(due, now - PERIOD) + PERIOD
        try:
            reply = await visitor.change("seed", seed(int((due - start) / PERIOD)))
        except (SessionError, TimeoutError) as error:
            found.errors.append(str(error) or "no answer within 120 s")
            return
        found.changes.append(reply.seconds)
        found.figures.append(reply.to_figures)
        found.errors += reply.errors


async def heavy(app: App, found: Measured) -> None:
    """Look at one long sequence after the other, each until all of it is computed, until cancelled."""
    async with Session(app.url, HEAVY) as visitor:
        reply = await visitor.load()
        for seed in count(1):
            while visitor.watched:
                reply = await visitor.watch()
            found.errors += reply.errors
            reply = await visitor.change("seed", seed)


async def lesson(
    apps: Sequence[App], visitors: Sequence[Session], seconds: float, *, same: bool, round_number: int
) -> Measured:
    """Let everybody change a setting every second, spread over the second."""
    found = Measured()
    cpu, own = sum(app.cpu() for app in apps), psutil.Process().cpu_times()
    start = time.perf_counter()
    turns = []
    for i, visitor in enumerate(visitors):
        first = (round_number * 1_000 + (0 if same else i + 1)) * 10_000

        def seed(turn: int, first: int = first) -> int:
            return first + turn

        begins = start + PERIOD * i / len(visitors)
        turns.append(busy(visitor, seed, begins, seconds, found))
    await asyncio.gather(*turns)
    took, used = time.perf_counter() - start, psutil.Process().cpu_times()
    found.server_cpu = (sum(app.cpu() for app in apps) - cpu) / took
    found.own_cpu = (used.user + used.system - own.user - own.system) / took
    return found


async def held(app: App, people: int, seconds: float, changes: Table, memory: Table) -> None:
    """Run the rounds for one class at one server, and add their rows to the tables."""
    async with Session(app.url, LINK) as first:
        await first.load()
    before = app.rss()
    async with AsyncExitStack() as stack:
        visitors = await joined(stack, [app], people)
        opened = app.rss()
        for same in (True, False):
            name = _named(people, same)
            found = await lesson([app], visitors, seconds, same=same, round_number=2 * same)
            _add(changes, name, found)
            beside = asyncio.create_task(heavy(app, aside := Measured()))
            found = await lesson([app], visitors, seconds, same=same, round_number=2 * same + 1)
            beside.cancel()
            await asyncio.gather(beside, return_exceptions=True)
            found.errors += aside.errors
            _add(changes, f"{name}, beside 32,768 tokens", found)
        full = app.rss()
    await asyncio.sleep(2)
    left = app.rss()
    await asyncio.sleep(IDLE_SECONDS + 25)
    each = f"{(opened - before) / people:.2f}"
    memory.add(str(people), f"{before:.0f}", each, f"{full:.0f}", f"{left:.0f}", f"{app.rss():.0f}")


async def shared(apps: Sequence[App], people: int, seconds: float, changes: Table) -> None:
    """Let one class sit at several servers, and add its rows to the table."""
    async with AsyncExitStack() as stack:
        visitors = await joined(stack, apps, people)
        for same in (True, False):
            found = await lesson(apps, visitors, seconds, same=same, round_number=int(same))
            _add(changes, f"{_named(people, same)}, {len(apps)} processes", found)


def _named(people: int, same: bool) -> str:
    return f"{people}, {'one link' if same else 'own settings'}"


def _add(changes: Table, name: str, found: Measured) -> None:
    changes.add(name, *found.cells())
    for error in sorted(set(found.errors))[:5]:
        print(f"    {found.errors.count(error)} x {error}")


def _faults(apps: Sequence[App]) -> None:
    for line in [line for app in apps for line in app.faults()][:5]:
        print(f"    in the server's log: {line}")


IDLE_SECONDS = 60
"""MHA_VIZ_IDLE_SECONDS, and disconnectedSessionTTL of .streamlit/config.toml, as they are."""


CHANGES = (
    "Milliseconds from a change (8 heads × 64 tokens, one change a person and second) to the script's last message, "
    "`figures`: to the last figure. Server and client: cores used; load: the machine's, over a minute."
)
MEMORY = (
    "Memory of the server in MiB, before: after one visitor; after a minute without anybody the caches, which are "
    "bounded, are dropped."
)


def main(people: Sequence[int], seconds: float) -> Measurements:
    """Hold a class of each size with a server of its own, and return both tables."""
    names = ("people", "p50", "p95", "p99", "figures p95", "changes", "errors", "server", "client", "load")
    changes = Table(names, CHANGES).show()
    memory = Table(("people", "before", "each", "at the end", "all left", "a minute later"), MEMORY)
    for size in people:
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "server.log") as app:
            asyncio.run(held(app, size, seconds, changes, memory))
            _faults([app])
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            apps = [stack.enter_context(serving(Path(folder) / f"{number}.log")) for number in range(2)]
            asyncio.run(shared(apps, size, seconds, changes))
            _faults(apps)
    return Measurements([changes, memory], versions={"websockets": version("websockets")})
