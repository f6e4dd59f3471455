"""Where a Run on the screen comes from: a Scenario, a run file that was brought here, or a pretrained model.

Each is a frozen value of primitives, so that links, caches and sessions hold no tensors. Run files are kept in
memory, by digest, within a byte budget; one that was pushed out or never brought here is asked for again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cachetools
import streamlit as st

from mha_viz import pretrained, settings
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.export import run_file
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.settings import Checked, setting
from mha_viz.ui import sizes

BUDGET = 512 * 2**20
GROUP = "Your model"
RUN_VARIABLE = "MHA_VIZ_RUN"
"""Environment variable: the run file that every visitor of this server sees until they bring one of their own."""


@dataclass(frozen=True)
class RunFile(Checked):
    """A run file that was uploaded, by its digest and name; empty for the server's own, if it has one."""

    run_file: str = setting("", group=GROUP, help="The uploaded run file: what `run.save(...)` wrote.")


Origin = Scenario | RunFile | Reading

_runs: cachetools.LRUCache[str, Run] = cachetools.LRUCache(BUDGET, getsizeof=sizes.run_bytes)
_lock = threading.Lock()


def key(source: Origin) -> tuple[str, str, int]:
    """Return what a cache knows an origin by; it changes when a model's folder does.

    Raises:
        InputError: The origin is a model that may not be loaded here, or cannot be found.
    """
    stamp = 0
    if isinstance(source, Reading) and source.model:
        pretrained.allowed(source.model, local=is_local())  # first, or visitors could ask which folders there are
        stamp = pretrained.stamp(source.model)
    own = os.environ.get(RUN_VARIABLE, "") if source == RunFile() else ""
    return type(source).__name__, settings.to_query(source) or own, stamp


def keep(data: bytes, name: str) -> RunFile:
    """Read a run file, keep its run, and return what names it.

    Raises:
        InputError: The bytes are no run file, or hold more than this server keeps.
    """
    found = run_file.from_bytes(data, name)
    held = sizes.run_bytes(found)
    if held > BUDGET:
        raise InputError(f"{name[:100]!r} holds {held:,} bytes of tensors, but at most {BUDGET:,} are kept.")
    reference = f"{hashlib.sha256(data).hexdigest()[:16]} {name[:100]}"
    with _lock:
        _runs[reference] = found
    return RunFile(reference)


def kept(file: RunFile) -> Run:
    """Return the run of a run file.

    Raises:
        InputError: It is not on this server (any more), or the server's own cannot be read.
    """
    if not file.run_file:
        return _own()
    with _lock:
        if file.run_file not in _runs:
            raise InputError(f"The run file {name(file)!r} is not on this server any more: upload it again.")
        return _runs[file.run_file]


def name(file: RunFile) -> str:
    """Return the name of a run file; empty where there is none."""
    if not file.run_file:
        return Path(os.environ.get(RUN_VARIABLE, "")).name
    return (file.run_file.partition(" ")[2] or file.run_file)[:100]


def _own() -> Run:
    path = os.environ.get(RUN_VARIABLE)
    if not path:
        raise InputError("No run file is here yet: upload one on the page Your model.")
    return _loaded(path)


@cache
def _loaded(path: str) -> Run:
    return run_file.load(path)


def read(reading: Reading) -> Run:
    """Return the run of a pretrained model; errors are those of `mha_viz.pretrained.read`."""
    if not reading.model:
        raise InputError("No pretrained model is chosen yet: choose one on the page Your model.")
    return pretrained.read(reading, local=is_local())


def is_local() -> bool:
    """Return whether this server listens to its own machine alone: `server.address` is a loopback address.

    Without an address Streamlit listens to every network that the machine is in, so that is not local. A proxy on the
    same machine that lets others in cannot be seen from here: set `MHA_VIZ_MODELS` there.
    """
    address = str(st.get_option("server.address") or "")
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
