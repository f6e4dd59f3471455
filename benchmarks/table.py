"""Tables of measurements: printed as they are taken, and kept in docs/benchmarks.md with when and on what.

Each part of the benchmarks has its own place there, between `<!-- part: name -->` and `<!-- end -->`; all other text
is the reader's and stays. Figures that the plot draws are kept beside it, in docs/benchmarks.json.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
TEXT, FIGURES = "benchmarks.md", "benchmarks.json"
PACKAGES = ("torch", "streamlit", "plotly")


@dataclass
class Table:
    """One table that is printed while it grows.

    Attributes:
        columns: What stands above each column; the first names the rows.
        caption: A sentence above the table, in Markdown.
        rows: The cells of each row, as texts.
    """

    columns: Sequence[str]
    caption: str = ""
    rows: list[Sequence[str]] = field(default_factory=list)

    def show(self) -> Table:
        """Print the caption and what stands above the columns, and return the table."""
        print(f"\n{self.caption}".rstrip())
        self._print(self.columns)
        return self

    def add(self, *cells: str) -> None:
        """Append a row and print it."""
        self.rows.append(cells)
        self._print(cells)

    def print(self) -> None:
        """Print the whole table."""
        self.show()
        for cells in self.rows:
            self._print(cells)

    def markdown(self) -> str:
        """Return the caption and the table as Markdown."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"{self.caption}\n\n{table}".strip()

    def _print(self, cells: Sequence[str]) -> None:
        widths = [max(24, len(self.columns[0]) + 2), *(max(14, len(column) + 2) for column in self.columns[1:])]
        padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        print(" ".join(padded), flush=True)


@dataclass(frozen=True)
class Measured:
    """What one part found.

    Attributes:
        tables: For the reader.
        figures: The same as plain numbers, for the plot; empty where nothing is plotted.
        versions: Of what was measured beside the packages that every part names.
    """

    tables: Sequence[Table]
    figures: Sequence[Mapping[str, Any]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def load() -> float:
    """Return how many processes wanted to run on average in the last minute; NaN where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def conditions(versions: Mapping[str, str], load_before: float) -> str:
    """Return one sentence: the day, the machine, the versions, and what else ran."""
    now = datetime.now(UTC)
    names = {"Python": platform.python_version(), **{name: version(name) for name in PACKAGES}, **versions}
    spelled = ", ".join(f"{name} {number}" for name, number in names.items())
    return (
        f"Taken on {now.day} {now:%B %Y} on {machine()}; {spelled}. "
        f"Load average {load_before:.1f} at the start, {load():.1f} at the end."
    )


def machine() -> str:
    """Return the processor and its cores, and the memory where the system says it."""
    about, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    model = re.search(r"model name\s*:\s*(.+)", about.read_text()) if about.exists() else None
    total = re.search(r"MemTotal:\s*(\d+) kB", memory.read_text()) if memory.exists() else None
    name = model[1] if model else platform.processor() or platform.machine()
    size = f", {int(total[1]) / 2**20:.0f} GiB of memory" if total else ""
    return f"{name}, {os.cpu_count()} cores{size}"


def write(part: str, found: Measured, load_before: float, folder: Path = DOCS) -> None:
    """Put what a part found, and under which conditions, in the place of what was found before."""
    said = conditions(found.versions, load_before)
    body = "\n\n".join([said, *(table.markdown() for table in found.tables)])
    text = folder / TEXT
    text.write_text(placed(text.read_text(encoding="utf-8"), part, body), encoding="utf-8")
    if found.figures:
        kept = figures(folder) | {part: {"conditions": said, "figures": list(found.figures)}}
        (folder / FIGURES).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def placed(text: str, part: str, body: str) -> str:
    """Return a text with `body` in the place of a part, or in a new section at the end if it has no place yet."""
    start, end = f"<!-- part: {part} -->", "<!-- end -->"
    block = f"{start}\n\n{body}\n\n{end}"
    if start not in text:
        return f"{text.rstrip()}\n\n## {part.capitalize()}\n\n{block}\n"
    return re.sub(f"{re.escape(start)}.*?{re.escape(end)}", lambda _: block, text, count=1, flags=re.DOTALL)


def figures(folder: Path = DOCS) -> dict[str, Any]:
    """Return the numbers that are kept beside the tables, by part."""
    path = folder / FIGURES
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
