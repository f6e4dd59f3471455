"""Measure, print tables, and put them into docs/benchmarks.md: `python -m benchmarks [part ...]`, all by default."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from benchmarks import classroom, doctor, first_load, forward, gpu, paint, peers, plot, reach, soak, streamed, table

Options = argparse.Namespace

# One line a part. What one returns goes into docs/benchmarks.md; a part that returns nothing only prints.
PARTS: dict[str, Callable[[Options], table.Measured | None]] = {
    "forward": lambda options: forward.main(options.rounds),
    "paint": lambda options: paint.main(options.rounds),
    "peers": lambda options: peers.main(options.lengths or peers.LENGTHS, rounds=min(options.rounds, peers.ROUNDS)),
    "first-load": lambda options: first_load.main(min(options.rounds, first_load.ROUNDS)),
    "reach": lambda options: reach.main(options.rounds),
    "streamed": lambda options: streamed.main(options.rounds, options.lengths or streamed.LENGTHS),
    "gpu": lambda options: gpu.main(options.rounds, options.lengths or gpu.LENGTHS),
    "doctor": lambda options: doctor.main(options.rounds),
    "classroom": lambda options: classroom.main(options.people, options.seconds),
    "soak": lambda options: soak.main(options.minutes, options.sessions),
}
ON_DEMAND = {"soak"}  # half an hour


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; default: all but soak")
    parser.add_argument("--rounds", type=int, default=15, help="counted measurements of each quick line (default 15)")
    parser.add_argument("--lengths", type=numbers, help="tokens in peers, streamed and gpu, such as 512,4096")
    parser.add_argument("--people", type=numbers, default=[20, 60, 100], help="sizes of the classes in the classroom")
    parser.add_argument("--seconds", type=float, default=20, help="how long each round in the classroom takes")
    parser.add_argument("--minutes", type=float, default=30, help="how long the soak takes")
    parser.add_argument("--sessions", type=int, default=20, help="how many people the soak has")
    parser.add_argument("--print-only", action="store_true", help="leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in options.parts or [part for part in PARTS if part not in ON_DEMAND]:
        before = table.load()
        print(f"\n== {name} (load average {before:.1f}) ==", flush=True)
        found = PARTS[name](options)
        if found is not None and not options.print_only:
            table.write(name, found, before)
            plot.main()


if __name__ == "__main__":
    main()
