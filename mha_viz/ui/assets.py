"""The component's files over HTTP: its own JavaScript modules and the plotly.js that the plotly package ships."""

from __future__ import annotations

import gzip
import hashlib
import threading
from functools import cache
from importlib.metadata import version
from pathlib import Path

import plotly
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mha_viz.ui.values import PREFIX

FRONTEND = Path(__file__).parent / "frontend"
MODULES = (
    "plot.js",
    "bitmap.js",
    "cells.js",
    "cursor.js",
    "download.js",
    "finer.js",
    "keys.js",
    "labels.js",
    "layout.js",
    "link.js",
    "marks.js",
    "minimap.js",
    "mixed.js",
    "paint.js",
    "picture.js",
    "pinch.js",
    "place.js",
    "raster.js",
    "sizes.js",
    "strokes.js",
    "theme.js",
    "tip.js",
    "wire.js",
    "zoom.js",
)
PLOTLY_FILE = f"plotly-{version('plotly')}.min.js"
_IMMUTABLE = "public, max-age=31536000, immutable"
_pack_lock = threading.Lock()


def read(name: str) -> str:
    """Return the text of one file of the frontend folder."""
    return (FRONTEND / name).read_text(encoding="utf-8")


@cache
def frontend_folder() -> str:
    """Return the folder of the JavaScript modules, relative to the app: its name changes when any of them does."""
    digest = hashlib.sha256()
    for name in MODULES:
        digest.update(read(name).encode())
    return f"{PREFIX[1:]}/frontend-{digest.hexdigest()[:12]}"


def frontend_route() -> Route:
    """Return the route of the component's JavaScript modules, cached for ever by the browser."""
    return Route(f"/{frontend_folder()}/{{name}}", _module, methods=["GET"])


def plotly_js_route() -> Route:
    """Return the route of plotly.js, compressed once a process and cached for ever by the browser."""
    return Route(f"{PREFIX}/{PLOTLY_FILE}", _plotly_js, methods=["GET"])


async def _module(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in MODULES:
        return Response("Not Found", status_code=404)
    return Response(read(name), media_type="text/javascript", headers={"cache-control": _IMMUTABLE})


def _plotly_js(request: Request) -> Response:  # not async: compressing takes a while, and runs in a thread this way
    headers = {"cache-control": _IMMUTABLE, "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_packed(), media_type="text/javascript", headers={**headers, "content-encoding": "gzip"})
    return Response(_plotly_path().read_bytes(), media_type="text/javascript", headers=headers)


def _packed() -> bytes:
    with _pack_lock:  # visitors who arrive together wait for one compression
        return _compress()


@cache
def _compress() -> bytes:
    return gzip.compress(_plotly_path().read_bytes(), compresslevel=6, mtime=0)


def _plotly_path() -> Path:
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
