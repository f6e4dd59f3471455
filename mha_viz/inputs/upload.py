"""Uploaded files to named tensors: sizes and shapes are checked before numbers are read, and nothing is unpickled.

`read_upload` knows .npy, .npz, .csv, .safetensors and .pt. Whatever the bytes are, it returns an `Upload` or raises
`InputError`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from mha_viz.errors import InputError
from mha_viz.inputs.table import parse_table
from mha_viz.inputs.tensor_files import READERS, Array, File, Limits, damage_named, utf8

MAX_BYTES = 64 * 2**20
"""Largest file, and largest content of a packed one, in bytes, where the caller does not say otherwise."""

MAX_ELEMENTS = 2**24
"""Most numbers in all tensors of a file, where the caller does not say otherwise."""

SUFFIXES = (".npy", ".npz", ".csv", ".safetensors", ".pt", ".pth")
"""Suffixes of the files that are read, each with its dot."""


@dataclass(frozen=True, eq=False)
class Upload:
    """What was read from a file.

    Attributes:
        name: The file's name without folders, printable, at most 100 characters.
        digest: SHA-256 of its bytes, in hexadecimal.
        tensors: float32 CPU tensors [L, E] or [N, L, E] by name; a file of one nameless tensor calls it "".
        dtypes: Number format of each tensor in the file, such as "float64".
        labels: Token labels, one for each row, where a table gave them; else empty.
    """

    name: str
    digest: str
    tensors: dict[str, torch.Tensor]
    dtypes: dict[str, str]
    labels: tuple[str, ...] = field(default=())


def read_upload(name: str, data: bytes, *, max_bytes: int = MAX_BYTES, max_elements: int = MAX_ELEMENTS) -> Upload:
    """Read the tensors of a file.

    Args:
        name: Its name; the suffix says the format.
        data: Its bytes.
        max_bytes: Most bytes, of the file and of what it unpacks to.
        max_elements: Most numbers in all its tensors together.

    Raises:
        InputError: The file is empty, too large, damaged or pickled, its suffix is unknown, or it holds anything but
            numeric tensors of 2 or 3 dimensions.
    """
    limits = Limits(SUFFIXES, max_bytes, max_elements, dimensions=(2, 3), layout="[L, E] or [N, L, E]")
    file = File.opened(name, data, limits)
    with damage_named(file):
        given, labels = _given(file)
        tensors = {key: _float32(tensor, file.title(key)) for key, tensor in given.items()}
    dtypes = {key: _dtype_name(tensor) for key, tensor in given.items()}
    return Upload(file.name, hashlib.sha256(data).hexdigest(), tensors, dtypes, labels)


def pick(upload: Upload, name: str) -> torch.Tensor:
    """Return the tensor called `name`, or the only one there is.

    Raises:
        InputError: The file has several tensors and none of that name.
    """
    if name in upload.tensors:
        return upload.tensors[name]
    if len(upload.tensors) == 1:
        return next(iter(upload.tensors.values()))
    known = ", ".join(repr(key[:40]) for key in list(upload.tensors)[:8])
    more = ", ..." if len(upload.tensors) > 8 else ""
    raise InputError(f"{upload.name} has no tensor {name[:40]!r}; it has {known}{more}.")


def _dtype_name(given: Array) -> str:
    return given.dtype.name if isinstance(given, np.ndarray) else str(given.dtype).removeprefix("torch.")


def _float32(given: Array, title: str) -> torch.Tensor:
    """Copy to float32, refusing finite numbers that it cannot hold."""
    if isinstance(given, np.ndarray):
        with np.errstate(over="ignore", under="ignore"):
            tensor = torch.from_numpy(np.ascontiguousarray(given.astype(np.float32)))
        lost = bool(np.any(np.isfinite(given) & np.isinf(tensor.numpy())))
    else:
        tensor = given.to(torch.float32, copy=True).contiguous()
        lost = bool((tensor.isinf() & ~given.to(torch.float64).isinf()).any())
    if lost:
        raise InputError(f"{title} holds a number beyond 3.4e38, the end of float32.")
    return tensor


def _given(file: File) -> tuple[Mapping[str, Array], tuple[str, ...]]:
    if file.suffix != ".csv":
        return READERS[file.suffix](file), ()
    text = utf8(file)
    try:
        table = parse_table(text, max_characters=file.limits.max_bytes, max_numbers=file.limits.max_elements)
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None
    return {"": table.values}, table.labels
