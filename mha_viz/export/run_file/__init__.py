"""Run files: a Run as one safetensors file, and back, bit for bit. docs/run-file.md describes the layout.

Reading one executes nothing. Whatever the bytes are, it gives a Run or raises `InputError`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch

from mha_viz.attention import memory
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.export.run_file.layout import FORMAT, MAX_TENSORS, SUFFIX, VERSION
from mha_viz.export.run_file.reading import run_of
from mha_viz.export.run_file.writing import packed
from mha_viz.inputs.disk import read_bytes
from mha_viz.inputs.tensor_files import MAX_TENSORS as CHECKED_AT_ONCE
from mha_viz.inputs.tensor_files import READERS, File, Limits, damage_named

__all__ = ["FORMAT", "SUFFIX", "VERSION", "from_bytes", "load", "save", "to_bytes"]


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write a run file; a file that is there is replaced only once the new one is whole.

    Args:
        run: From a Scenario, a capture or a file. Its tensors may lie on any device.
        path: Must end with .safetensors.

    Raises:
        InputError: The path can't be written, or the run holds what a run file can't: an empty tensor, a complex
            number, or more names and tokens than 1 MiB.
    """
    place = Path(path)
    if place.suffix.lower() != SUFFIX:
        raise InputError(f"A run file's name must end with {SUFFIX}, not {place.name[-40:]!r}.")
    tensors, metadata = packed(run)
    part = place.with_name(f"{place.name}.part")
    try:
        part.write_bytes(safetensors.torch.save(tensors, metadata))
        part.replace(place)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise InputError(f"{str(path)!r} cannot be written: {(reason or 'it is no file name').lower()}.") from None


def to_bytes(run: Run) -> bytes:
    """Return the content of a run file; errors as `save`."""
    return safetensors.torch.save(*packed(run))


def load(path: str | os.PathLike[str]) -> Run:
    """Read a run file; its tensors come on the CPU, whatever device they were on.

    Raises:
        InputError: The file can't be opened, is larger than the memory limit, damaged, or is no run file.
    """
    return from_bytes(read_bytes(path, most=memory.limit_bytes()), Path(path).name)


def from_bytes(data: bytes, name: str = "") -> Run:
    """Read the content of a run file.

    Args:
        data: Its bytes, at most as many as the memory limit (`MHA_VIZ_MEMORY_LIMIT_MB`).
        name: What messages call it; it must end with .safetensors.

    Raises:
        InputError: As `load`.
    """
    most = memory.limit_bytes()
    limits = Limits((SUFFIX,), most, most, dimensions=tuple(range(1, 9)), layout="a tensor of 1 to 8 dimensions")
    file = _RunFile.opened(name or f"run{SUFFIX}", data, limits)
    with damage_named(file):
        tensors = READERS[SUFFIX](file)
        facts = _facts(file)
        try:
            return run_of(facts, tensors)
        except InputError as error:
            raise InputError(f"{file.name}: {error}") from None


class _RunFile(File):
    """A file that may hold more tensors than an upload of inputs."""

    def check(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        if len(shapes) > MAX_TENSORS:
            raise InputError(f"{self.name} holds {len(shapes):,} tensors; a run file has at most {MAX_TENSORS:,}.")
        every = list(shapes.items())
        for start in range(0, max(1, len(every)), CHECKED_AT_ONCE):
            super().check(dict(every[start : start + CHECKED_AT_ONCE]))


def _facts(file: File) -> Any:
    """Return what the file's metadata says of the run, as JSON has it; the header was found sound before."""
    size = int.from_bytes(file.data[:8], "little")
    header = json.loads(file.data[8 : 8 + size], object_pairs_hook=_unique)
    metadata = header.get("__metadata__", {})
    if metadata.get("format") != FORMAT:
        raise InputError(f"{file.name} holds tensors, but no run: a run file is what run.save writes.")
    if metadata.get("version") != VERSION:
        found = str(metadata.get("version"))[:20]
        raise InputError(f"{file.name} is a run file of version {found!r}, but only version {VERSION!r} can be read.")
    return json.loads(metadata["run"], object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("two values of one name")
    return found
