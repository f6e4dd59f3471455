"""Many sessions for a long time, with random settings: no error, no growth, and the right numbers throughout.

Settings are drawn from a seeded generator and bounded, so that after a third of the time nearly all have been seen and
the caches hold what they will: from then on the server must not grow. A tenth of the replies is compared with a fresh
computation in this process.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import mha_viz as mv
from benchmarks.decoded import figure
from benchmarks.process import App, serving
from benchmarks.sessions import Reply, Session, SessionError
from benchmarks.table import Measured, Table

LINK = "source=normal&query_len=48&num_heads=4"
SETTINGS: dict[str, Sequence[object]] = {
    "seed": range(5),
    "num_heads": (1, 2, 4, 8),
    "source": ("normal", "repeated", "clusters"),
    "mask": ("full", "causal", "causal & window(4)", "window(2)", "random(0.3, 1)", "(q - k < 3) | (k == 0)"),
}
AT_FIRST: dict[str, object] = {"seed": 0, "num_heads": 4, "source": "normal", "mask": "causal"}
PERIOD = 1.0
SAMPLED = 0.1
ALLOWED_GROWTH = 0.1


@dataclass
class Soaked:
    """What happened: how many changes and comparisons, what went wrong, and the memory over time in MiB."""

    changes: int = 0
    compared: int = 0
    errors: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def growth(self) -> float:
        """Return by which share the memory grew in the last two thirds of the time."""
        settled = self.memory[len(self.memory) // 3]
        return self.memory[-1] / settled - 1

    def failed(self) -> bool:
        """Return whether an error came, a number was wrong, or memory grew more than a tenth."""
        return bool(self.errors) or self.growth() > ALLOWED_GROWTH


def difference(query: str, reply: Reply, fetch: Callable[[str], bytes]) -> str:
    """Return how a reply differs from a fresh computation of what its link says; empty if it does not."""
    weights = mv.run(mv.Scenario.from_query(query)).layers[0].weights[0]
    panels = figure(reply.figures["grid"], fetch).panels
    if len(panels) != len(weights):
        return f"{query}: {len(panels)} panels for {len(weights)} heads"
    same = all(np.array_equal(mine, its, equal_nan=True) for mine, its in zip(weights.numpy(), panels, strict=True))
    return "" if same else f"{query}: the weights differ"


async def visit(visitor: Session, chance: random.Random, end: float, found: Soaked) -> None:
    """Change one setting after the other until the time is over."""
    held = dict(AT_FIRST)
    while time.monotonic() < end:
        began = time.monotonic()
        name = chance.choice(list(SETTINGS))
        held[name] = chance.choice([value for value in SETTINGS[name] if value != held[name]])
        try:
            reply = await visitor.change(name, held[name])
        except (SessionError, TimeoutError) as error:
            found.errors.append(str(error) or "no answer within 120 s")
            return
        found.changes += 1
        found.errors += reply.errors
        if chance.random() < SAMPLED and not reply.errors:
            found.compared += 1
            await visitor.linger()
            if wrong := await asyncio.to_thread(difference, visitor.query, reply, visitor.values):
                found.errors.append(wrong)
        await asyncio.sleep(max(0.0, PERIOD * chance.uniform(0.5, 1.5) - (time.monotonic() - began)))


async def soaked(app: App, seconds: float, sessions: int, seed: int = 0) -> Soaked:
    """Run all sessions for a while and watch the server's memory."""
    found = Soaked()
    end = time.monotonic() + seconds
    async with AsyncExitStack() as stack:
        visitors = [await stack.enter_async_context(Session(app.url, LINK)) for _ in range(sessions)]
        for visitor in visitors:
            await visitor.load()
        visits = [visit(visitor, random.Random(seed * 10_000 + i), end, found) for i, visitor in enumerate(visitors)]
        done = asyncio.gather(*visits)
        while not done.done():
            found.memory.append(app.rss())
            await asyncio.wait([done], timeout=min(5.0, seconds / 30))
        await done
    found.memory.append(app.rss())
    return found


def main(minutes: float, sessions: int) -> Measured:
    """Soak a server of its own and return the table.

    Raises:
        SystemExit: An error came, a number was wrong, or memory grew too much.
    """
    torch.set_num_threads(1)  # as the server below: sums that are split among threads differ in their last bits
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "server.log", {"OMP_NUM_THREADS": "1"}) as app,
    ):
        found = asyncio.run(soaked(app, minutes * 60, sessions))
        found.errors += [f"in the log: {line}" for line in app.faults()]
    names = ("sessions", "minutes", "changes", "compared", "errors", "MiB, settled", "MiB, end", "growth")
    result = Table(names, "Random settings; `settled`: after a third of the time.").show()
    counts = [str(count) for count in (found.changes, found.compared, len(found.errors))]
    memory = [f"{found.memory[len(found.memory) // 3]:.0f}", f"{found.memory[-1]:.0f}", f"{found.growth():+.1%}"]
    result.add(str(sessions), f"{minutes:g}", *counts, *memory)
    for error in sorted(set(found.errors))[:10]:
        print(f"    {found.errors.count(error)} x {error}")
    if found.failed():
        raise SystemExit("the soak failed")
    return Measured([result])
