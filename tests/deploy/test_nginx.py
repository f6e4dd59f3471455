"""deploy/nginx.conf, with real parts: two app processes behind nginx, of which one is killed while it is in use."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decoded import figure
from benchmarks.process import App, free_port, serving
from benchmarks.sessions import Reply, Session, SessionError
from tests.coroutines import completed

LINK = "source=normal&query_len=32&num_heads=8&mask=causal&seed=4"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/site.conf;
}}
"""


@dataclass(frozen=True)
class Site:
    """nginx and the processes behind it."""

    url: str
    apps: tuple[App, App]


def _open_sockets(app: App) -> int:
    return sum(connection.status == "ESTABLISHED" for connection in app.process.net_connections("tcp"))


@contextmanager
def _behind_nginx(folder: Path, apps: tuple[App, App], repository: Path) -> Iterator[str]:
    port = free_port()
    site = (repository / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    site = re.sub(r"listen 80;", f"listen 127.0.0.1:{port};", site)
    for ours, app in zip(("127.0.0.1:8501", "127.0.0.1:8502"), apps, strict=True):
        site = re.sub(rf"server {ours}", f"server {app.url.removeprefix('http://')}", site)
    (folder / "site.conf").write_text(site, encoding="utf-8")
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder), encoding="utf-8")
    process = subprocess.Popen([str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url, process, folder)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)


def _wait_for(url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, (folder / "error.log").read_text()
            time.sleep(0.05)
    pytest.fail("nginx does not answer")


@pytest.fixture
def site(tmp_path: Path, repository: Path) -> Iterator[Site]:
    if not NGINX:
        reason = "nginx is not here (Debian: apt-get install nginx)"
        pytest.fail(f"{reason}, and CI has to install it") if os.environ.get("CI") else pytest.skip(reason)
    with ExitStack() as stack:
        logs = (tmp_path / "first.log", tmp_path / "second.log")
        secret = {"STREAMLIT_SERVER_COOKIE_SECRET": "the same for both"}
        first, second = (stack.enter_context(serving(log, secret)) for log in logs)
        url = stack.enter_context(_behind_nginx(tmp_path, (first, second), repository))
        yield Site(url, (first, second))


def _weights(reply: Reply) -> list[np.ndarray]:
    return list(figure(reply.figures["grid"]).panels)


async def _killed_in_use(site: Site) -> None:
    cookie = "mha_viz=seat-of-a-test"
    async with Session(site.url, LINK, cookie=cookie) as visitor:
        await visitor.load()
        before = await visitor.change("seed", 7)
        await visitor.linger()
        (used,) = [app for app in site.apps if _open_sockets(app)]
        used.process.kill()
        with pytest.raises(SessionError, match="the socket was closed"):
            await visitor.change("seed", 8)
    assert "seed=7" in visitor.query
    async with Session(site.url, visitor.query, cookie=cookie) as again:
        after = await again.load()
        (other,) = [app for app in site.apps if app is not used and _open_sockets(app)]
        assert other.process.is_running()
        assert len(_weights(before)) == 8
        for had, has in zip(_weights(before), _weights(after), strict=True):
            np.testing.assert_array_equal(had, has)
        assert not (await again.change("seed", 8)).errors


def test_a_killed_process_loses_nothing_that_the_link_holds(site: Site) -> None:
    completed(_killed_in_use(site))


def test_each_visitor_gets_a_seat_and_keeps_it(site: Site) -> None:
    with urllib.request.urlopen(site.url, timeout=20) as response:
        given = response.headers["Set-Cookie"]
    assert re.match(r"mha_viz=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax$", given)
    asked = urllib.request.Request(site.url, headers={"Cookie": given.partition(";")[0]})
    with urllib.request.urlopen(asked, timeout=20) as response:
        assert "mha_viz=" not in (response.headers["Set-Cookie"] or "")
    completed(_seats(site))


async def _seats(site: Site) -> None:
    """Many visitors sit at both processes, and one visitor's second socket is where the first is."""
    one = [Session(site.url, cookie="mha_viz=one") for _ in range(4)]
    for visitor in one:
        await visitor.__aenter__()
    assert sorted(_open_sockets(app) for app in site.apps) == [0, 4]
    many = [Session(site.url, cookie=f"mha_viz={i}") for i in range(16)]
    for visitor in many:
        await visitor.__aenter__()
    assert min(_open_sockets(app) for app in site.apps) > 0
    for visitor in [*one, *many]:
        await visitor.__aexit__(None, None, None)
