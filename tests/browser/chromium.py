"""Finds the Chromium that browser tests and benchmarks drive, and installs one where that can be done unasked.

`python tests/browser/chromium.py` installs if need be and prints the path, or how to get a browser.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

VARIABLE = "MHA_VIZ_BROWSER"
COMMANDS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
MAC_APPS = (
    "Google Chrome.app/Contents/MacOS/Google Chrome",
    "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
HELP = (
    "no Chromium was found: install Chrome or Chromium (Debian: apt-get install chromium), "
    f"or run '{sys.executable} -m playwright install chromium', or set {VARIABLE} to a browser's path"
)


def find() -> str | None:
    """Return the path of the first Chromium-like browser that starts, or None."""
    return next((path for path in _candidates() if _starts(path)), None)


def install() -> None:
    """Try Debian's package where no password is needed, then Playwright's own download; failures are only printed."""
    for command in _install_commands():
        print("+", " ".join(command), flush=True)
        try:
            done = subprocess.run(command, check=False, timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(error)
        else:
            if done.returncode == 0 and find():
                return


def _candidates() -> list[str]:
    if chosen := os.environ.get(VARIABLE):
        return [chosen]
    found = [path for name in COMMANDS if (path := shutil.which(name))]
    folders = (Path("/Applications"), Path.home() / "Applications")
    found += [str(folder / app) for folder in folders for app in MAC_APPS if (folder / app).exists()]
    return [*found, *_downloaded_by_playwright()]


def _downloaded_by_playwright() -> list[str]:
    caches = [Path.home() / ".cache/ms-playwright", Path.home() / "Library/Caches/ms-playwright"]
    if root := os.environ.get("PLAYWRIGHT_BROWSERS_PATH"):
        caches.insert(0, Path(root))
    names = ("chrome", "Chromium", "Google Chrome for Testing")
    paths = (path for cache in caches for name in names for path in cache.glob(f"chromium-*/**/{name}"))
    return sorted((str(path) for path in paths if path.is_file()), reverse=True)


def _starts(path: str) -> bool:
    # Ubuntu's /usr/bin/chromium-browser may be a stub that only tells to install a snap.
    try:
        return subprocess.run([path, "--version"], capture_output=True, check=False, timeout=30).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _install_commands() -> list[list[str]]:
    playwright = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if not shutil.which("apt-get"):
        return playwright
    if os.geteuid() == 0:
        sudo = []
    elif (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    ):
        sudo = ["sudo", "-n"]
    else:
        return playwright
    apt = [*sudo, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", "Acquire::Retries=3"]
    # Ubuntu has Chromium as a snap only, which containers cannot start: there the last of these does it.
    with_libraries = [[*command, "--with-deps"] for command in playwright]
    return [[*apt, "update"], [*apt, "install", "-y", "--no-install-recommends", "chromium"], *with_libraries]


if __name__ == "__main__":
    if find() is None:
        install()
    print(find() or HELP)
