"""Write the tables of README.md from the registries and metadata: `python -m docs.write_tables`, or `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

from mha_viz.ui import reference

README = Path(__file__).resolve().parent.parent / "README.md"


def filled(text: str) -> str:
    """Return a text with a fresh table between each pair of `<!-- table: Name -->` and `<!-- end -->`."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}\n\n{reference.TABLES[found[2]]()}\n\n<!-- end -->"

    return re.sub(r"(<!-- table: ([^>]+?) -->).*?<!-- end -->", table, text, flags=re.DOTALL)


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
