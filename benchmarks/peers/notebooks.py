"""Libraries that draw in a notebook: their call in Python, and the page that it makes in the browser.

A change is the call with other weights and its page opened anew, as when a cell is run again; the notebook's own time
is left out. A page is painted when the elements that `READY` names are there and the picture no longer changes.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from functools import cache
from pathlib import Path
from statistics import median

import psutil
from playwright.sync_api import Browser, Page, Route

from benchmarks.limits import Guard, Stopped, renderers
from benchmarks.opening import final, fresh_page, painted
from benchmarks.peers.record import Record

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".venv-bench"
PYTHON = ENVIRONMENT / "bin" / "python"
MAKER = Path(__file__).with_name("html.py")

READY = {
    "bertviz": "return !!document.querySelector('#vis svg #attention line')",
    "circuitsvis": "return document.querySelectorAll('canvas').length > 1",
    "inspectus": "return !!document.querySelector('.attention-visualization .dimension-values .value')",
    "treescope": "return !!document.querySelector('treescope-container').shadowRoot.querySelector('canvas')",
}
PACKAGES = ("requirejs@2.3.6", "d3@5.7.0", "jquery@2.1.0")
"""What bertviz's pages load from a content network, from npm instead; 2.0.0 of jquery is not there."""
SCRIPTS = {
    "require.min.js": "requirejs/require.js",
    "d3.min.js": "d3/dist/d3.min.js",
    "jquery.min.js": "jquery/dist/jquery.min.js",
}


def measured(browser: Browser, peer: str, folder: Path, length: int, rounds: int) -> Record:
    """Return the medians of a peer's calls and pages for the weights in a folder.

    Raises:
        Stopped: It is not installed, or a limit was passed.
        playwright.sync_api.Error: The browser gave up.
    """
    calls, python_peak = called(peer, folder, rounds)
    opens, page_peaks = [], []
    for number in range(rounds):
        seconds, peak = _opened(browser, peer, folder / f"{peer}-{number}.html")
        opens.append(seconds)
        page_peaks.append(peak)
    total = median(call + opening for call, opening in zip(calls, opens, strict=True))
    return Record(peer, length, total, median(opens), python_peak, max(page_peaks))


def called(peer: str, folder: Path, rounds: int) -> tuple[list[float], int]:
    """Let the peer make its pages; return the seconds of each call and the most bytes that Python held."""
    if not PYTHON.exists():
        raise Stopped("not installed: `make .venv-bench/.stamp`")
    command = [str(PYTHON), str(MAKER), peer, str(folder), str(rounds)]
    found = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        process = psutil.Process(child.pid)
        with Guard("Python", lambda: [process]) as guard:
            for line in child.stdout:
                if line.startswith("{"):
                    guard.pause()
                    found.append(float(json.loads(line)["seconds"]))
                elif line == "begin\n":
                    guard.begin()
            said = child.stderr.read()
            if len(found) < rounds:
                raise Stopped((said.strip().splitlines() or ["it ended early"])[-1])
        return found, guard.peak


def _opened(browser: Browser, peer: str, file: Path) -> tuple[float, int]:
    """Open a peer's page; return seconds until its picture is final, and the most bytes that its process held."""
    with Guard("page", renderers, clock=True) as guard, fresh_page(browser) as page:
        if peer == "bertviz":
            _answer_for_the_network(page)
        begun = time.time()
        there = painted(page, file.as_uri(), READY[peer])
        return final(page, begun, there), guard.peak


def _answer_for_the_network(page: Page) -> None:
    """Give a page the scripts that it asks a content network for from local copies."""
    modules = scripts()

    def answer(route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if name in SCRIPTS:
            route.fulfill(path=modules / SCRIPTS[name], content_type="text/javascript")
        else:
            route.abort()

    page.route(re.compile("^https:"), answer)


@cache
def scripts() -> Path:
    """Return the folder with the scripts that bertviz's pages need, fetched with npm if they are not there yet.

    Raises:
        Stopped: npm is not installed, or the registry could not be reached.
    """
    modules = ENVIRONMENT / "node_modules"
    if not all((modules / path).exists() for path in SCRIPTS.values()):
        if shutil.which("npm") is None:
            raise Stopped("its scripts are missing: npm is not installed")
        options = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"]
        command = ["npm", "install", "--prefix", str(ENVIRONMENT), *options, *PACKAGES]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        except subprocess.TimeoutExpired:
            raise Stopped("its scripts are missing: the npm registry did not answer") from None
        if done.returncode:
            raise Stopped(f"its scripts are missing: {done.stderr.strip().splitlines()[-1][:100]}")
    return modules
