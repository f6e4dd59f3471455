"""Shared by all tests: deterministic torch and hypothesis, the repository's folder, and the real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent

settings.register_profile(
    "suite",
    derandomize=True,  # the same examples on every machine: a red run can be repeated
    deadline=None,
    max_examples=60,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", parent=settings.get_profile("suite"), derandomize=False, max_examples=2000)
# Before torch is imported: the app's warm-up leaves the number of threads alone where this is set.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@dataclass(frozen=True)
class AppServer:
    """A running `streamlit run app.py`: `url` has no slash at its end, `log()` is all that it printed so far."""

    url: str
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the browser tests last (slow, and Playwright's event loop stays), and skip GPU tests where there is none.

    What runs against other processes has a second try: a busy machine can make a browser drop a tap. The retry is
    reported; what fails twice is broken.
    """
    for item in items:
        if any(
            REPOSITORY / "tests" / folder in item.path.parents for folder in ("browser", "cluster", "deploy", "load")
        ):
            item.add_marker(pytest.mark.flaky(retries=1, delay=1))
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting and not _gpu_is_there():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="neither CUDA nor MPS is available"))


def _gpu_is_there() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread() -> None:
    """Fix the number of threads: sums that are split among threads differ in the last bits."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def strict_scripts() -> None:
    """Hold every script run by AppTest to plain values in session state, and let it say what went wrong.

    Not switched on for the real server, where Streamlit keeps something of its own there for the plot component.
    """
    from streamlit import config

    config.set_option("client.showErrorDetails", "full")
    config.set_option("runner.enforceSerializableSessionState", True)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds app.py, pages/ and mha_viz/."""
    return REPOSITORY


@contextmanager
def serving(script: Path, log_file: Path) -> Iterator[AppServer]:
    """Serve a script by the real server, with the app's own configuration, on a free port of this machine."""
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--server.address", "127.0.0.1", "--server.port", "0"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield AppServer(_wait_for_url(process, log_file, seconds=90), log_file)
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=15)


@pytest.fixture(scope="session")
def app_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppServer]:
    """The real app, one server for the whole session."""
    with serving(REPOSITORY / "app.py", tmp_path_factory.mktemp("server") / "server.log") as server:
        yield server


@pytest.fixture(scope="session")
def app_url(app_server: AppServer) -> str:
    """The address of the real server, without a slash at its end."""
    return app_server.url


def _wait_for_url(process: subprocess.Popen[bytes], log_file: Path, *, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        log = log_file.read_text(encoding="utf-8", errors="replace")
        printed = re.search(r"(http://127\.0\.0\.1:\d+[\w/]*?)/?\s", log)
        if printed and _is_healthy(printed[1]):
            return printed[1]
        time.sleep(0.05)
    log = log_file.read_text(encoding="utf-8", errors="replace")
    pytest.fail(f"the server was not up within {seconds:.0f} s (exit status {process.poll()}); its log:\n{log}")


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
