"""Print the benchmark table: `python -m benchmarks [forward] [paint] [reach] [doctor] [--rounds N]`."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version

from benchmarks import doctor, forward, paint, reach


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=["forward", "paint", "reach", "doctor", []], default=[], help="default: all parts"
    )
    parser.add_argument("--rounds", type=int, default=15, help="counted measurements of each line (default 15)")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "streamlit", "plotly"))
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print("Medians of one run; a ratio compares measurements taken in turn.\n")
    if not options.parts or "forward" in options.parts:
        forward.main(options.rounds)
    if not options.parts or "paint" in options.parts:
        paint.main(options.rounds)
    if not options.parts or "reach" in options.parts:
        reach.main(options.rounds)
    if not options.parts or "doctor" in options.parts:
        doctor.main(options.rounds)


if __name__ == "__main__":
    main()
