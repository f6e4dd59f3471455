"""Models in memory: loaded once for everybody, in eval mode and float32, with nothing of theirs executed but torch."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mha_viz.attention import memory
from mha_viz.attention.device import available, resolve
from mha_viz.errors import CapacityError, InputError, MhaVizError
from mha_viz.pretrained import hub, library, sources
from mha_viz.pretrained.choice import BUILT_IN
from mha_viz.pretrained.sources import Source
from mha_viz.remember import remembered

BUDGET_MB = 2_048
TEXT, PICTURES = "input_ids", "pixel_values"


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model that is ready to run; it is shared and must not be changed.

    Attributes:
        title: What it is called.
        model: In eval mode, float32, with explicit ("eager") attention.
        reads: `input_ids` or `pixel_values`.
        tokenizer: Of transformers; None for a model of pictures.
        picture: What its preprocessor_config.json says; empty where there is none.
        device: Where it is.
        notes: Sentences on what is not as one would expect.
        lock: Held during a forward, because the hooks that listen to it are the model's.
    """

    title: str
    model: nn.Module
    reads: str
    tokenizer: Any
    picture: Mapping[str, Any]
    device: str
    notes: tuple[str, ...] = ()
    lock: threading.RLock = field(default_factory=threading.RLock)


def load(model: str, device: str = "auto") -> Loaded:
    """Return a model by `built-in`, folder or name on the hub; one that this machine has is not asked for on the hub.

    Args:
        model: What to load; weights must be safetensors, and code that comes with a model is never run.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` takes the first GPU there is.

    Raises:
        InputError: It can't be loaded; the sentence says why.
        CapacityError: Its weights alone exceed the memory limit.
        DeviceError: The device is not on this machine.
    """
    if not model:
        raise InputError(f"No model was given: choose {BUILT_IN}, a folder, or a name on the hub.", field="model")
    chosen = (*available()[1:], "cpu")[0] if device == "auto" else resolve(device)
    return _loaded(sources.located(model), chosen)


def _bytes(loaded: Loaded) -> int:
    return sum(parameter.nbytes for parameter in loaded.model.parameters())


@remembered(BUDGET_MB, key=lambda source, device: (source, device), size=_bytes)
def _loaded(source: Source, device: str) -> Loaded:
    library.transformers()
    try:
        with library.quietly():
            return _first_from_this_machine(source, device)
    except MhaVizError:
        raise
    except Exception as error:  # a damaged or foreign model fails in any way there is
        raise InputError(_sentence(source, error), field="model") from error


def _first_from_this_machine(source: Source, device: str) -> Loaded:
    try:
        return _read(source, device, local_files_only=True)
    except OSError:
        if source.in_folder:
            raise
    hub.check(source)
    return _read(source, device, local_files_only=False)


def _read(source: Source, device: str, *, local_files_only: bool) -> Loaded:
    auto = library.transformers()
    common = {"trust_remote_code": False, "local_files_only": local_files_only}
    config = auto.AutoConfig.from_pretrained(source.path, **common)
    _check_config(source, config)
    model, about = auto.AutoModel.from_pretrained(
        source.path,
        config=config,
        attn_implementation="eager",
        dtype=torch.float32,
        use_safetensors=True,
        output_loading_info=True,
        **common,
    )
    reads = model.main_input_name
    if reads not in (TEXT, PICTURES):
        raise InputError(f"{source.title} reads {reads}: only models of text and of pictures can be given something.")
    tokenizer = auto.AutoTokenizer.from_pretrained(source.path, **common) if reads == TEXT else None
    picture = _picture(source, local_files_only) if reads == PICTURES else {}
    model = model.requires_grad_(False).eval().to(device)
    return Loaded(source.title, model, reads, tokenizer, picture, device, _made_up(about["missing_keys"]))


def _check_config(source: Source, config: Any) -> None:
    """Refuse weights that are pickled or too large before they are read or downloaded; switch caches off."""
    named = getattr(config, "transformers_weights", None)
    if named is not None and not str(named).endswith((".safetensors", ".safetensors.index.json")):
        raise InputError(sources.pickled(source.title), field="model")
    config.use_cache = False
    with torch.device("meta"):
        empty = library.transformers().AutoModel.from_config(config, attn_implementation="eager")
    needed = 4 * sum(parameter.numel() for parameter in empty.parameters())
    if needed > (limit := memory.limit_bytes()):
        raise CapacityError(
            f"The weights of {source.title} need {memory.spelled(needed)}, more than the limit of "
            f"{memory.spelled(limit)}: choose a smaller model, or raise {memory.LIMIT_VARIABLE}.",
            field="model",
        )


def _picture(source: Source, local_files_only: bool) -> Mapping[str, Any]:
    """Return what a model's files say of how pictures are prepared."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = library.transformers().utils.cached_file(
            source.path,
            name,
            local_files_only=local_files_only,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if path is not None:
            found = json.loads(Path(path).read_bytes())
            found = found.get("image_processor", found)
            return found if isinstance(found, dict) else {}
    return {}


def _made_up(missing: set[str]) -> tuple[str, ...]:
    if not missing:
        return ()
    first = ", ".join(sorted(missing)[:4]) + (", ..." if len(missing) > 4 else "")
    return (f"The files lack {len(missing)} of the model's weights, which are random instead: {first}.",)


def _sentence(source: Source, error: Exception) -> str:
    said = " ".join(str(error).split())
    if "custom code" in said or "trust_remote_code" in said:
        return f"{source.title} needs Python code that comes with the model, and such code is never run."
    if len(said) > 200:
        said = f"{said[:197]}..."
    return f"{source.title} could not be loaded: {said or type(error).__name__}"
