from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.routing import Route

from mha_viz.errors import MhaVizError
from mha_viz.ui import server, values
from tests.coroutines import completed

HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class InlineScripts(HTMLParser):
    """Collects the text of every script without src: a second opinion on the regular expression."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.bodies: list[str] = []
        self._inside = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "script" and "src" not in dict(attrs)
        if self._inside:
            self.bodies.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.bodies[-1] += data

    def hashes(self) -> list[str]:
        digests = (hashlib.sha256(body.encode()).digest() for body in self.bodies)
        return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


async def _inner_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer every request with a header that clashes and one that does not."""
    headers = [(b"X-Content-Type-Options", b"old"), (b"x-own", b"kept")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"inner"})


def _request(path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    app = server.SecurityHeaders(_inner_app, policy="default-src 'self'")
    scope = {"type": "http", "method": "GET", "path": path, "headers": []}
    completed(app(scope, receive, send))
    headers = [(name.decode().lower(), value.decode()) for name, value in sent[0]["headers"]]
    return sent[0]["status"], headers, b"".join(message["body"] for message in sent[1:])


def _directives(policy: str) -> dict[str, list[str]]:
    return {name: sources for name, *sources in (part.split() for part in policy.split(";"))}


def _get(url: str) -> tuple[int, dict[str, str], str]:
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read().decode()


def test_each_security_header_is_sent_once_and_others_are_kept() -> None:
    status, headers, body = _request("/")
    expected = [("x-own", "kept"), ("content-security-policy", "default-src 'self'"), *HEADERS.items()]
    assert (status, body) == (200, b"inner")
    assert sorted(headers) == sorted(expected)


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics/", "/base/_stcore/metrics"])
def test_metrics_are_not_found_and_the_inner_app_is_not_asked(path: str) -> None:
    status, headers, body = _request(path)
    assert (status, body) == (404, b"Not Found")
    assert HEADERS.items() <= dict(headers).items()


def test_a_path_that_only_looks_like_metrics_passes() -> None:
    assert _request("/_stcore/metrics-help")[0] == 200


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
def test_other_scopes_reach_the_inner_app_with_their_own_channels(kind: str) -> None:
    seen: list[tuple[Any, ...]] = []

    async def inner(*arguments: Any) -> None:
        seen.append(arguments)

    async def channel(*_: Any) -> None: ...

    scope = {"type": kind, "path": "/_stcore/metrics"}
    completed(server.SecurityHeaders(inner, policy="x")(scope, channel, channel))
    assert seen == [(scope, channel, channel)]
    assert seen[0][0] is scope


def test_the_policy_holds_the_hash_of_the_inline_script_of_streamlits_page() -> None:
    html = server.INDEX_HTML.read_text(encoding="utf-8")
    expected = InlineScripts(html).hashes()
    assert expected
    assert _directives(server.content_security_policy(html))["script-src"][3:] == expected


def test_the_policy_allows_no_unnamed_inline_script_no_eval_and_no_other_site() -> None:
    policy = _directives(server.content_security_policy("<script>1</script>"))
    assert policy["default-src"] == ["'self'"]
    assert policy["object-src"] == ["'none'"]
    assert policy["frame-ancestors"] == ["'self'"]
    assert policy["script-src"][:3] == ["'self'", "blob:", "'wasm-unsafe-eval'"]
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "data:"} & set(policy["script-src"])
    assert not any("http" in source for sources in policy.values() for source in sources)


@pytest.mark.parametrize(
    ("html", "bodies"),
    [
        ("<script>a()</script>", ["a()"]),
        ('<script type="module">\n b \n</script>', ["\n b \n"]),
        ('<script src="x.js"></script><script>c</script>', ["c"]),
        ('<SCRIPT data-src="x">d</SCRIPT>', ["d"]),
        ('<script type="module" crossorigin src="./x.js"></script>', []),
        ("<p>none</p>", []),
    ],
)
def test_inline_scripts_are_hashed_byte_for_byte(html: str, bodies: list[str]) -> None:
    digests = (base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies)
    assert server.inline_script_hashes(html) == [f"'sha256-{digest}'" for digest in digests]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "'self'"),
        ({"MHA_VIZ_FRAME_ANCESTORS": ""}, "'self'"),
        ({"SPACE_ID": "someone/app"}, "'self' https://huggingface.co"),
        ({"MHA_VIZ_FRAME_ANCESTORS": "'none'", "SPACE_ID": "someone/app"}, "'none'"),
        ({"MHA_VIZ_FRAME_ANCESTORS": " 'self' https://*.school.example:8443 "}, "'self' https://*.school.example:8443"),
    ],
)
def test_frame_ancestors_come_from_the_environment(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MHA_VIZ_FRAME_ANCESTORS", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert server.frame_ancestors() == expected
    (policy,) = (wrapper.kwargs["policy"] for wrapper in server.middleware() if wrapper.cls is server.SecurityHeaders)
    assert _directives(policy)["frame-ancestors"] == expected.split()


@pytest.mark.parametrize("value", ["*; script-src *", "'self'\r\nx: y", "https://a.example, *", "https://é.example"])
def test_frame_ancestors_that_could_end_the_directive_are_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_FRAME_ANCESTORS", value)
    with pytest.raises(MhaVizError) as caught:
        server.middleware()
    assert str(caught.value) == (
        f"MHA_VIZ_FRAME_ANCESTORS must be sources separated by spaces, got {value!r}; allowed are 'self', 'none', * "
        "and addresses such as https://school.example."
    )


def test_boot_works_once_a_process_and_freezes_what_it_imported(repository: Path) -> None:
    script = """
        import gc, os, sys, threading
        os.environ.pop("OMP_NUM_THREADS", None)
        from mha_viz import environment
        from mha_viz.attention.streamed import workers
        from mha_viz.ui import server
        import torch
        before = torch.random.get_rng_state()
        first = []
        threads = [threading.Thread(target=lambda: first.append(server.boot())) for _ in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        assert sorted(first) == [False] * 7 + [True], first
        frozen = gc.get_freeze_count()
        assert frozen > 50_000, frozen
        assert 1 <= torch.get_num_threads() <= 4
        expected = min(workers.MOST, environment.cores()) if sys.platform == "linux" else torch.get_num_threads()
        assert workers.count() == expected
        assert torch.equal(before, torch.random.get_rng_state())
        assert server.boot() is False and gc.get_freeze_count() == frozen
    """
    done = _python(script, repository)
    assert done.returncode == 0, done.stderr


def test_boot_leaves_a_chosen_number_of_threads_alone(repository: Path) -> None:
    script = """
        import os
        os.environ["OMP_NUM_THREADS"] = str(os.cpu_count())  # boot would choose at most half
        import torch
        from mha_viz.ui import server
        from mha_viz.attention.streamed import workers
        before = torch.get_num_threads()
        server.boot()
        assert torch.get_num_threads() == before == workers.count()
    """
    done = _python(script, repository)
    assert done.returncode == 0, done.stderr


def test_the_lifespan_boots_and_then_lets_the_component_use_the_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(server, "boot", lambda: calls.append(f"boot, serving: {values.serving()}"))

    async def start() -> None:
        async with server.lifespan(object()):
            calls.append(f"up, serving: {values.serving()}")

    completed(start())
    assert calls == ["boot, serving: False", "up, serving: True"]
    assert not values.serving()


def test_the_real_page_is_served_with_a_policy_that_lets_its_own_script_run(app_url: str) -> None:
    status, headers, html = _get(f"{app_url}/")
    scripts = InlineScripts(html).hashes()
    assert status == 200
    assert HEADERS.items() <= headers.items()
    assert scripts
    assert set(scripts) <= set(_directives(headers["content-security-policy"])["script-src"])


@pytest.mark.parametrize("path", ["/gallery", "/reference"])
def test_the_real_server_answers_at_each_page(path: str, app_url: str) -> None:
    status, headers, html = _get(app_url + path)
    assert status == 200
    assert "content-security-policy" in headers
    assert "<title>Streamlit</title>" in html


def test_the_real_server_hides_its_metrics(app_url: str) -> None:
    status, headers, body = _get(f"{app_url}/_stcore/metrics")
    assert (status, body) == (404, "Not Found")
    assert HEADERS.items() <= headers.items()


def test_the_real_server_serves_plotly_js_and_the_components_modules(app_url: str) -> None:
    paths = [cast(Route, route).path for route in server.routes()]
    (plotly_js,) = [path for path in paths if "{" not in path]
    (modules,) = [path for path in paths if path.endswith("/{name}")]
    for path in (plotly_js, modules.replace("{name}", "plot.js")):
        status, headers, body = _get(app_url + path)
        assert (status, len(body) > 1000) == (200, True), path
        assert headers["content-type"].startswith("text/javascript")
        assert headers["x-content-type-options"] == "nosniff"
    assert _get(app_url + modules.replace("{name}", "server.py"))[0] == 404


def test_the_real_server_has_no_values_under_an_unknown_digest(app_url: str) -> None:
    (values_path,) = [path for route in server.routes() if (path := cast(Route, route).path).endswith("/{digest}")]
    assert _get(app_url + values_path.replace("{digest}", "0" * 32))[0] == 404


def test_the_real_server_has_no_finer_cells_under_an_unknown_token(app_url: str) -> None:
    (finer_path,) = [path for route in server.routes() if (path := cast(Route, route).path).endswith("/{token}")]
    status, headers, body = _get(app_url + finer_path.replace("{token}", "0" * 32))
    assert (status, body) == (404, "These cells are no longer kept; they are there again with the next run.")
    assert headers["x-content-type-options"] == "nosniff"


def _python(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    code = textwrap.dedent(script)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    "variable",
    ["MHA_VIZ_MEMORY_LIMIT_MB", "MHA_VIZ_HEAVY_MB", "MHA_VIZ_HELD_MB", "MHA_VIZ_IDLE_SECONDS", "MHA_VIZ_THREADS"],
)
@pytest.mark.parametrize("text", ["much", "-1"])
def test_a_limit_that_is_no_number_in_its_range_is_said_at_the_start(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(MhaVizError, match=rf"^{variable} must be a number from .* not '{text}'\.$"):
        server.middleware()
