"""Who may load which model: the one place that decides it.

The environment variable `MHA_VIZ_MODELS` lists what may be loaded, separated by commas: names on the hub, folders (a
folder stands for all that is inside it too), or `*` for any model. Where it is not set, a server that only this machine
reaches loads any model, and every other server only the built-in one, which is always allowed.
"""

from __future__ import annotations

import os

from mha_viz.errors import InputError
from mha_viz.pretrained.choice import BUILT_IN

VARIABLE = "MHA_VIZ_MODELS"


def allowed(model: str, *, local: bool = True) -> None:
    """Refuse a model that may not be loaded here.

    Args:
        model: `built-in`, a folder, or a name on the hub.
        local: Whether only this machine reaches the server; True in one's own Python.

    Raises:
        InputError: It may not be loaded.
    """
    listed = os.environ.get(VARIABLE)
    if model in ("", BUILT_IN) or (local if listed is None else _lists(listed, model)):
        return
    raise InputError(
        f"model {model!r} may not be loaded on this server: choose {BUILT_IN}, or have its name or folder listed in "
        f"the environment variable {VARIABLE} there.",
        field="model",
    )


def _lists(listed: str, model: str) -> bool:
    entries = [entry.strip() for entry in listed.split(",")]
    return "*" in entries or any(entry and _covers(entry, model) for entry in entries)


def _covers(entry: str, model: str) -> bool:
    """Compare real paths, so that neither `..` nor a link leads out of a listed folder."""
    folder, path = (os.path.realpath(os.path.expanduser(name)) for name in (entry, model))
    if os.path.isdir(folder) and os.path.isdir(path):
        return os.path.join(path, "").startswith(os.path.join(folder, ""))
    return entry == model and not os.path.isdir(path)
