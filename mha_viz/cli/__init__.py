"""The command line: `mha-viz` starts the app, `mha-viz open` on a run file, `mha-viz check` looks at a mask.

Exit status: 0 if nothing is wrong, 1 if `check` found something, 2 if a file or an argument cannot be read.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import mha_viz
from mha_viz.cli import check, opened
from mha_viz.errors import MhaVizError

UNREADABLE = 2

_STATUS = "Exit status: 0 if nothing is wrong, 1 if something was found, 2 if a file or an argument cannot be read."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status.

    Args:
        arguments: Those of the command line, without the program's name; of this process if None. Without any it is
            `open` without a file.

    Raises:
        SystemExit: The arguments are wrong (2), or only help or the version was asked for (0).
    """
    given = _parser().parse_args((sys.argv[1:] if arguments is None else arguments) or ["open"])
    try:
        status: int = given.run(given)
    except MhaVizError as error:
        sys.stderr.write(f"mha-viz: {error}\n")
        return UNREADABLE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mha-viz",
        description="Sees what torch.nn.MultiheadAttention does. Without a command it starts the app.",
    )
    parser.add_argument("--version", action="version", version=f"mha-viz {mha_viz.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="", required=True)
    for name, command, summary in (
        ("open", opened, "start the app, on a run file if one is given"),
        ("check", check, "say what is wrong with a mask"),
    ):
        added = commands.add_parser(name, help=summary, description=command.HELP, epilog=_STATUS)
        command.add_arguments(added)
        added.set_defaults(run=command.run)
    return parser
