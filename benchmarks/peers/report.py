"""What the comparison found, for the reader."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import paint
from benchmarks.peers import apps
from benchmarks.peers.record import Record
from benchmarks.table import Table

MB = 1e6


def line(record: Record) -> str:
    """Return one line to print as soon as something is known."""
    about = f"{record.length:>7,}  {record.name:16}"
    if record.stopped:
        return f"{about}stopped: {record.stopped}"
    sizes = f"Python {record.python_bytes / MB:,.0f} MB, page {record.page_bytes / MB:,.0f} MB"
    return f"{about}change {seconds(record.change)}, opening {seconds(record.opening)}, {sizes}"


def seconds(value: float) -> str:
    return f"{value * 1e3:,.0f} ms" if value < 1 else f"{value:,.1f} s"


def tables(found: Sequence[Record], names: Sequence[str], rounds: int) -> list[Table]:
    """Return and print the tables: changes with their ratios, openings, memory, and who was stopped."""
    ratios = paint.FLOOR in names and paint.APP in names
    change = _table(
        found,
        names,
        f"Change → painted, medians of {rounds}; of Streamlit's pages, up to {apps.QUICK:,} tokens, of "
        f"{max(apps.PRESSES, rounds)}.",
        lambda record: seconds(record.change),
    )
    if ratios:
        _add_ratios(change, found)
    opening = _table(found, names, "Opening → painted.", lambda record: seconds(record.opening))
    memory = _table(
        found,
        names,
        "Memory at its peak, MB: Python's process + the browser's for the page.",
        lambda record: f"{record.python_bytes / MB:,.0f} + {record.page_bytes / MB:,.0f}",
    )
    stopped = Table(["stopped", "tokens", "why"], "Stopped at 60 s for a picture or 4 GB for a process.")
    stopped.rows += [(record.name, f"{record.length:,}", record.stopped) for record in found if record.stopped]
    told = [table for table in (change, opening, memory, stopped) if table.rows]
    for table in told:
        table.print()
    return told


def _table(found: Sequence[Record], names: Sequence[str], caption: str, cell: Callable[[Record], str]) -> Table:
    table = Table(["tokens", *names], caption)
    known = {(record.length, record.name): record for record in found}
    for length in sorted({record.length for record in found}):
        records = [known.get((length, name)) for name in names]
        cells = ["–" if record is None else "stopped" if record.stopped else cell(record) for record in records]
        table.rows.append((f"{length:,}", *cells))
    return table


def _add_ratios(table: Table, found: Sequence[Record]) -> None:
    """Add how the app compares with the floor and with the fastest peer of the same length."""
    table.columns = [*table.columns, "app / empty page", "fastest peer / app"]
    for number, length in enumerate(sorted({record.length for record in found})):
        times = {record.name: record.change for record in found if record.length == length and not record.stopped}
        peers = [time for name, time in times.items() if name not in (paint.FLOOR, paint.APP)]
        app, floor = times.get(paint.APP), times.get(paint.FLOOR)
        of_floor = f"{app / floor:.2f}" if app and floor else "–"
        of_peers = f"{min(peers) / app:.1f}" if app and peers else "–"
        table.rows[number] = (*table.rows[number], of_floor, of_peers)


def versions(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of the packages in another environment; none if it is not there."""
    if not python.exists():
        return {}
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    said = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=False)
    return dict(zip(packages, said.stdout.split(), strict=False))
