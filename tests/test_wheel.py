"""The package as others install it: the wheel holds the app, and `mha-viz` starts it from any folder."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.error
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import mha_viz as mv
from mha_viz.export import run_file

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None,
    reason="hatchling is not installed: pip install -r requirements-dev.txt",
)

BIN = "Scripts" if os.name == "nt" else "bin"
INTERRUPT = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The wheel, built without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    _done([*pip, "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), str(repository)])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A fresh environment with the wheel in it; what it depends on is found where these tests find it."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / BIN / Path(sys.executable).name
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--quiet"]
    _done([*pip, "--no-deps", "--no-index", str(wheel)])
    where = _done([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    Path(where, "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


def _environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMLIT_", "MHA_VIZ_"))}
    return {**kept, "PYTHONPATH": "", "PYTHONUNBUFFERED": "1", "DISPLAY": "", "WAYLAND_DISPLAY": ""}


def _done(command: list[str], cwd: Path | None = None, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def started(environment: Path, folder: Path, *arguments: str) -> Iterator[tuple[str, Path]]:
    """Run the installed program in a folder and yield the address that it printed once it answers, and its log."""
    log = folder.parent / f"{folder.name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(environment / BIN / "mha-viz"), *arguments],
            cwd=folder,
            env=_environ(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        yield _address(process, log), log
        process.send_signal(INTERRUPT)
        assert process.wait(timeout=30) == 0, log.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait(timeout=15)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        printed = re.search(r"^MHA Viz: (http://\S+)$", log.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if printed:
            try:
                base = re.match(r"http://[^/]+", printed[1])
                assert base is not None
                if _get(f"{base[0]}/_stcore/health")[0] == 200:
                    return printed[1]
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                pass
        time.sleep(0.1)
    pytest.fail(f"the app was not up (exit status {process.poll()}); its log:\n{log.read_text(encoding='utf-8')}")


def _get(url: str) -> tuple[int, dict[str, str], str]:
    with urllib.request.urlopen(url, timeout=30) as response:
        return (
            response.status,
            {name.lower(): value for name, value in response.headers.items()},
            response.read().decode(),
        )


def test_the_wheel_holds_the_package_the_component_and_the_app(wheel: Path, repository: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    own = [path for path in (repository / "mha_viz").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    pages = [path for path in (repository / "pages").rglob("*.py") if "__pycache__" not in path.parts]
    wanted = {path.relative_to(repository).as_posix() for path in own}
    wanted |= {f"mha_viz/site/{path.relative_to(repository).as_posix()}" for path in pages}
    wanted |= {"mha_viz/site/app.py", "mha_viz/site/.streamlit/config.toml", "mha_viz/ui/frontend/plot.js"}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {name.split("/")[-1] for name in names - wanted} >= {"METADATA", "LICENSE", "entry_points.txt"}


def test_the_source_archive_builds_the_same_wheel(tmp_path: Path, wheel: Path, repository: Path) -> None:
    _done([sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(tmp_path)], repository)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    source = archive.with_name(archive.name.removesuffix(".tar.gz"))
    _done([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)], source)
    assert sorted(zipfile.ZipFile(tmp_path / wheel.name).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_the_program_starts_the_app_from_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    with started(environment, folder) as (url, log):
        status, headers, page = _get(url)
        assert status == 200
        assert '<div id="root">' in page
        assert "frame-ancestors 'self'" in headers["content-security-policy"]  # app.py's own server part runs
        asset = re.search(r"/mha-viz/plotly-[\w.]+\.js", _asset_of(environment))
        assert asset is not None
        assert _get(f"{url.rstrip('/')}{asset[0]}")[0] == 200
        printed = log.read_text(encoding="utf-8")
    assert printed == f"MHA Viz: {url}\nControl+C stops it.\n"
    assert list(folder.iterdir()) == []


def _asset_of(environment: Path) -> str:
    """Return the address of plotly.js, as the installed package has it."""
    code = "from mha_viz.ui import assets; print(f'{assets.PREFIX}/{assets.PLOTLY_FILE}')"
    python = environment / BIN / Path(sys.executable).name
    return _done([str(python), "-W", "ignore", "-c", code], environ=_environ())


def test_the_apps_own_settings_hold_over_those_of_the_folder(environment: Path, tmp_path: Path) -> None:
    python = environment / BIN / Path(sys.executable).name
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text('[client]\ntoolbarMode = "developer"\n', encoding="utf-8")
    code = (
        "from streamlit import config; from mha_viz.ui import launch; "
        "config._main_script_path = str(launch.script_path()); config.get_config_options(force_reparse=True); "
        "print(launch.script_path()); print(config.get_option('client.toolbarMode'))"
    )
    place, mode = _done([str(python), "-W", "ignore", "-c", code], tmp_path, _environ()).splitlines()[-2:]
    assert Path(place).is_relative_to(environment)
    assert Path(place).parts[-3:] == ("mha_viz", "site", "app.py")
    assert mode == "viewer"


def test_it_opens_on_a_run_file(environment: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    run_file.save(mv.run(mv.Scenario()), folder / "run.safetensors")
    with started(environment, folder, "open", "run.safetensors", "--host", "127.0.0.1") as (url, _):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/your_model", url)
        assert _get(url)[0] == 200
