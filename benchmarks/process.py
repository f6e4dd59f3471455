"""The app as a process of its own, started as `make run` starts it, and what it takes of the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
MiB = 2**20
_MEMORY = {"PYTHONMALLOC": "malloc", "MALLOC_ARENA_MAX": "1"} if sys.platform == "linux" else {}
_LOCAL = ["--server.address", "localhost", "--server.allowedHosts", "localhost", "--server.allowedHosts", "127.0.0.1"]


@dataclass(frozen=True)
class App:
    """A running server.

    Attributes:
        url: Its address, without a slash at its end.
        process: The process, whose memory and processor time can be read.
        log_file: What it has printed.
    """

    url: str
    process: psutil.Process
    log_file: Path

    def rss(self) -> float:
        """Return the memory that the process holds now, in MiB."""
        return self.process.memory_info().rss / MiB

    def cpu(self) -> float:
        """Return the processor time that the process has used, in seconds."""
        used = self.process.cpu_times()
        return float(used.user + used.system)

    def faults(self) -> list[str]:
        """Return the lines of the log that tell of an exception."""
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if "Traceback" in line or "Error" in line or "Exception" in line]


def free_port() -> int:
    """Return a port of this machine that nothing listens on."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port: int = tried.getsockname()[1]
        return port


@contextmanager
def serving(
    log_file: Path,
    environment: Mapping[str, str] | None = None,
    flags: tuple[str, ...] = (),
    script: str = "app.py",
    port: int | None = None,
) -> Iterator[App]:
    """Serve the app or another script until the block ends.

    Args:
        log_file: Where it prints.
        environment: Added to this process's.
        flags: Added to those of `make run`.
        script: Its path in the repository.
        port: Where it listens; a free one if None.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "streamlit", "run", script, *_LOCAL, "--server.port", str(port), *flags]
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **_MEMORY, **(environment or {})}
    with log_file.open("wb") as log:
        server = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    app = App(f"http://127.0.0.1:{port}", psutil.Process(server.pid), log_file)
    try:
        _wait_for(app, server)
        yield app
    finally:
        server.terminate()
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(timeout=15)


def _wait_for(app: App, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{app.url}/_stcore/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the app was not up within {seconds:.0f} s; its log:\n{app.log_file.read_text()}")
