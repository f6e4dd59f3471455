"""Starts the app from any folder: finds its files, a free port, and hands both to Streamlit in this process.

Streamlit reads `.streamlit/config.toml` beside the script after those of the home folder and the current folder, so
the app's own settings win wherever it is started; environment variables win over them.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

import mha_viz
from mha_viz.errors import MhaVizError

PORT = 8501
TRIES = 100
LOCAL = ("localhost", "127.0.0.1", "::1")
WILDCARDS = ("0.0.0.0", "::")

_UP_WITHIN = 120.0  # seconds


def serve(*, host: str = "localhost", port: int | None = None, page: str = "", browser: bool = True) -> int:
    """Serve the app until it is stopped, and return the exit status.

    Args:
        host: Address to listen on.
        port: Port to listen on; if None, the first free one from 8501.
        page: Path of the page to point at, without a slash; empty for the first.
        browser: Whether to open a browser where there is a screen.

    Raises:
        MhaVizError: The app's files are not there, or nothing can listen at this address.
    """
    from streamlit.web import cli

    script = script_path()
    port = _free_port(host, port)
    shown = "localhost" if host in WILDCARDS else f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}"
    sys.stdout.write(f"MHA Viz: {url}/{page}\nControl+C stops it.\n")
    sys.stdout.flush()
    if browser and _has_screen():
        threading.Thread(target=_open_when_up, args=(url, page), daemon=True).start()
    try:
        cli.main(args=["run", str(script), *flags(host, port)], prog_name="streamlit", standalone_mode=False)
    except RuntimeError as error:  # what its command line makes of Control+C
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
    return 0


def script_path() -> Path:
    """Return the script that Streamlit runs: in the installed package, or at the top of a checkout.

    Raises:
        MhaVizError: It is in neither place.
    """
    package = Path(mha_viz.__file__).resolve().parent
    places = (package / "site", package.parent)
    for place in places:
        if (place / "app.py").is_file() and (place / ".streamlit" / "config.toml").is_file():
            return place / "app.py"
    raise MhaVizError(f"The app must lie in {places[0]} or {places[1]}, but neither holds app.py: install it again.")


def flags(host: str, port: int) -> list[str]:
    """Return the options for `streamlit run`.

    While the app is local it answers to local names only: a web page can't then reach it under a name of its own
    (DNS rebinding). Whoever lets others in, or has set the names in the environment, decides that.
    """
    given = ["--server.address", host, "--server.port", str(port)]
    # Its own welcome would ask the net for this machine's address.
    given += ["--logger.hideWelcomeMessage", "true"]
    if host in LOCAL and "STREAMLIT_SERVER_ALLOWED_HOSTS" not in os.environ:
        given += [part for name in LOCAL for part in ("--server.allowedHosts", name)]
    return given


def _free_port(host: str, wanted: int | None) -> int:
    """Return the port that is wanted, or else the first free one from 8501."""
    places = range(PORT, PORT + TRIES) if wanted is None else (wanted,)
    reason = ""
    for port in places:
        reason = _refusal(host, port)
        if not reason:
            return port
    where = f"{host}:{wanted}" if wanted else f"{host}, ports {PORT} to {PORT + TRIES - 1}"
    raise MhaVizError(f"The app can't listen at {where}: {reason}; choose another --host or --port.")


def _refusal(host: str, port: int) -> str:
    """Return why nothing can listen at an address, empty if something can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            if os.name == "posix":  # elsewhere this option lets two programs share a port
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        return (getattr(error, "strerror", None) or "it is no address").lower()
    return ""


def _has_screen() -> bool:
    """Return whether a browser would be seen; without a screen some would take over the terminal."""
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_when_up(url: str, page: str) -> None:
    end = time.monotonic() + _UP_WITHIN
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                break
        except OSError:
            time.sleep(0.2)
    webbrowser.open(f"{url}/{page}")
