"""Where the cluster is."""

from __future__ import annotations

import os
import socket
from importlib.util import find_spec

from mha_viz.errors import DeviceError

VARIABLE = "MHA_VIZ_RAY_ADDRESS"
AUTO = "auto"  # the cluster that was started on this machine
HERE = f"or unset {VARIABLE} to compute here"
PATIENCE = 5.0  # seconds in which a head must take a connection


def address() -> str:
    """Return what `MHA_VIZ_RAY_ADDRESS` says, `host:port` or `auto`; empty where all work stays in this process."""
    return os.environ.get(VARIABLE, "").strip()


def check(where: str) -> None:
    """Refuse an address at which there can be no cluster.

    Raises:
        DeviceError: Ray is not installed, it is no address, or nothing answers there.
    """
    if find_spec("ray") is None:
        message = (
            f"{VARIABLE} sends work to a Ray cluster, but ray is not installed: pip install 'mha-viz[ray]', {HERE}."
        )
        raise DeviceError(message)
    if where == AUTO:
        return
    host, _, port = where.rpartition(":")
    if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise DeviceError(f"{VARIABLE} must be host:port of a Ray head, or {AUTO}, not {where[:100]!r}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except OSError:
        raise DeviceError(f"no Ray cluster answers at {where}: start its head with ray start --head, {HERE}.") from None
