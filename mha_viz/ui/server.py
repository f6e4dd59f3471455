"""What surrounds the page script in the server process: warm-up, security headers and the package's own routes.

`app.py` hands `lifespan`, `routes()` and `middleware()` to `st.App`. A host that runs the script without that object
has no lifespan, so the script calls `boot()` too: the first call in a process does the work, later ones do nothing.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import importlib
import os
import pkgutil
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import streamlit
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import mha_viz.ui
from mha_viz import environment
from mha_viz.errors import MhaVizError
from mha_viz.ui import idle, limits, malloc, presented, turns
from mha_viz.ui.backpressure import Backpressure, stall_seconds
from mha_viz.ui.nodelay import NoDelay
from mha_viz.ui.reconnect import Reconnect
from mha_viz.ui.together import Together

FRAME_ANCESTORS_VARIABLE = "MHA_VIZ_FRAME_ANCESTORS"
"""Environment variable: the sites that may show the app in a frame, as CSP `frame-ancestors` sources."""

INDEX_HTML = Path(streamlit.__file__).parent / "static" / "index.html"
"""The page that Streamlit serves; its inline script is let through by its hash."""

_boot_lock = threading.Lock()
_booted = threading.Event()


def boot() -> bool:
    """Import and exercise what the pages need, then hide it from the garbage collector.

    Walking the objects of torch and Plotly takes about 0.1 s, with the interpreter held. Frozen objects are not walked.

    Returns:
        True for the call that did the work, False for every later call in the same process.
    """
    if _booted.is_set():
        return False
    with _boot_lock:
        if _booted.is_set():
            return False
        malloc.keep()
        presented.install()
        _warm_up()
        gc.collect()
        gc.freeze()
        _booted.set()
        return True


@asynccontextmanager
async def lifespan(app: object) -> AsyncIterator[None]:
    """Boot before the first visitor is let in, and let the plot component use the routes while they are served.

    Args:
        app: the `st.App` that starts; it is not touched.
    """
    from streamlit.runtime.pages_manager import PagesManager

    from mha_viz.ui import values

    boot()
    # Until some run of this process has called st.navigation, Streamlit would take the files in pages/ for apps of
    # their own: whoever came first by a link to a page would see it without app.py around it, and no way on.
    PagesManager.uses_pages_directory = False
    values.set_serving(True)
    tidying = asyncio.create_task(idle.tidy())
    yield
    tidying.cancel()
    values.set_serving(False)


def routes() -> list[BaseRoute]:
    """Return what the plot component fetches from: values of large arrays, finer cells, its modules, plotly.js."""
    from mha_viz.ui import plot, values
    from mha_viz.ui.finer_route import FinerRoute

    own = [values.route(), FinerRoute().route(), plot.frontend_route(), plot.plotly_js_route()]
    base = streamlit.get_option("server.baseUrlPath").strip("/")  # Streamlit puts it before its own routes only
    prefix = f"/{base}" if base else ""
    return [Route(prefix + route.path, route.endpoint, methods=["GET"]) for route in own]


def middleware() -> list[Middleware]:
    """Return what wraps every request, as this process's environment says.

    Raises:
        MhaVizError: `MHA_VIZ_FRAME_ANCESTORS` holds something that is not a list of sources, or a limit is no number
            in its range: also those that are only used later, so that a server says so when it starts.
    """
    from mha_viz.attention import memory
    from mha_viz.attention.streamed import workers

    sizes = (memory.limit_bytes, limits.heavy_bytes, limits.held_bytes)
    for limit in (turns.of_server, idle.idle_seconds, workers.count, *sizes):
        limit()
    policy = content_security_policy(INDEX_HTML.read_text(encoding="utf-8"), frame_ancestors())
    return [
        Middleware(NoDelay),
        Middleware(SecurityHeaders, policy=policy),
        Middleware(Backpressure, stall=stall_seconds()),
        Middleware(Reconnect),
        Middleware(Together),
    ]


class SecurityHeaders:
    """Pure ASGI middleware: adds security headers to HTTP responses and hides the server's metrics.

    Websocket and lifespan messages pass through untouched. (Starlette's `BaseHTTPMiddleware` is not used because it
    buffers streams.)

    Args:
        app: the ASGI application to wrap.
        policy: the value of `Content-Security-Policy`.
    """

    def __init__(self, app: ASGIApp, *, policy: str) -> None:
        self.app = app
        headers = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",  # the page's address holds what the visitor typed
            "permissions-policy": "camera=(), geolocation=(), microphone=()",
        }
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._names = {name for name, _ in self._headers}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection as ASGI 3 asks."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if pair[0].lower() not in self._names]
                message = {**message, "headers": [*kept, *self._headers]}
            await send(message)

        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"].rstrip("/").endswith("/_stcore/metrics"):
            # Public by default, and it tells how many people are using the app.
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)


def content_security_policy(index_html: str, ancestors: str = "'self'") -> str:
    """Return the Content-Security-Policy for a page: nothing from elsewhere, no inline script but the page's own.

    Args:
        index_html: the served page; its inline scripts are allowed by hash, so no `'unsafe-inline'` is needed.
        ancestors: sources for `frame-ancestors`, separated by spaces.
    """
    # Components load from blob:, and Streamlit's protobuf decoder compiles a few bytes of WebAssembly.
    scripts = ["'self'", "blob:", "'wasm-unsafe-eval'", *inline_script_hashes(index_html)]
    directives = {
        "default-src": "'self'",
        "script-src": " ".join(scripts),
        "style-src": "'self' 'unsafe-inline'",  # Streamlit and Plotly write style attributes
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": "'self' ws: wss:",  # older browsers do not count the socket as 'self'
        "worker-src": "'self' blob:",
        "frame-ancestors": ancestors,
        "form-action": "'self'",
        "base-uri": "'self'",
        "object-src": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def inline_script_hashes(html: str) -> list[str]:
    """Return `'sha256-...'`, quotes included, for each script of `html` that is written in the page itself."""
    bodies = re.findall(r"<script\b(?![^>]*\ssrc\s*=)[^>]*>(.*?)</script>", html, flags=re.DOTALL | re.IGNORECASE)
    digests = (base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in bodies)
    return [f"'sha256-{digest}'" for digest in digests]


def frame_ancestors() -> str:
    """Return the sources that may frame the app, from `MHA_VIZ_FRAME_ANCESTORS` or by what the host is.

    The default is the app's own origin, and on a Hugging Face Space (which shows every app in a frame, and sets
    `SPACE_ID`) also huggingface.co.

    Raises:
        MhaVizError: the variable holds a character that could end the directive or the header.
    """
    default = "'self' https://huggingface.co" if "SPACE_ID" in os.environ else "'self'"
    sources = os.environ.get(FRAME_ANCESTORS_VARIABLE, "").strip() or default
    if not re.fullmatch(r"[\w'*:/.\- \[\]]+", sources, flags=re.ASCII):
        raise MhaVizError(
            f"{FRAME_ANCESTORS_VARIABLE} must be sources separated by spaces, got {sources!r}; allowed are 'self', "
            "'none', * and addresses such as https://school.example."
        )
    return sources


def _warm_up() -> None:
    """Import every module of the user interface and run a first forward, which torch makes slower than the rest."""
    import torch

    from mha_viz.attention.streamed import workers

    if "OMP_NUM_THREADS" not in os.environ:
        # Sessions run side by side, each in a thread of its own: one run must not take every core.
        torch.set_num_threads(min(4, max(1, environment.cores() // 2)))
        if sys.platform == "linux":  # elsewhere the threads of a pass would not stand back for those that draw
            os.environ.setdefault(workers.THREADS_VARIABLE, str(min(workers.MOST, environment.cores())))
    for module in pkgutil.iter_modules(mha_viz.ui.__path__, "mha_viz.ui."):
        importlib.import_module(module.name)
    from mha_viz.given import Given
    from mha_viz.scenario import Scenario
    from mha_viz.ui import cached, mask_results, words

    # The first picture, and one with masks of both kinds: what torch does for the first time takes seconds in all.
    words.headline(cached.run(Scenario()))
    cached.run(Scenario(text="one two\nthree"))
    mask_results.checked(Scenario(), Given())
    importlib.import_module("pandas")  # which Streamlit imports at its first table
