"""`mha-viz open run.safetensors`: the app in the browser, on a run file or from the start."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mha_viz.export import run_file

PAGE = "your_model"

HELP = "Starts the app on this machine and opens it in the browser; with a run file, on that."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Declare the arguments of `open`."""
    command.add_argument("file", nargs="?", help="what run.save(...) wrote, a .safetensors file")
    command.add_argument("--port", type=_port, metavar="P", help="default: 8501, or the next one that is free")
    command.add_argument(
        "--host", metavar="NAME", default="localhost", help="address to listen on; 0.0.0.0 lets others in"
    )
    command.add_argument("--no-browser", action="store_true", help="only print the address")


def run(given: argparse.Namespace) -> int:
    """Serve the app until it is stopped, and return the exit status.

    Raises:
        MhaVizError: The file is no run file, or the app can't be served at this address.
    """
    from mha_viz.ui import launch, origin  # not at the top: `check` does without the user interface

    page = ""
    if given.file is not None:
        page = PAGE
        run_file.load(given.file)  # the page reads it again: here it only has to be readable
        os.environ[origin.RUN_VARIABLE] = str(Path(given.file).resolve())
    return launch.serve(host=given.host, port=given.port, page=page, browser=not given.no_browser)


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, not {text[:40]!r}")
    return int(text)
