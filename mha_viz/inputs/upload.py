"""Uploaded files to named tensors: sizes and shapes are checked before numbers are read, and nothing is unpickled.

`read_upload` knows .npy, .npz, .csv, .safetensors and .pt. Whatever the bytes are, it returns an `Upload` or raises
`InputError`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from mha_viz.errors import InputError
from mha_viz.inputs.archive import read_archive
from mha_viz.inputs.numpy_file import describe_npy, load_npy
from mha_viz.inputs.table import parse_table
from mha_viz.inputs.torch_file import check_parts, describe, load_parts, parts

MAX_BYTES = 64 * 2**20
"""Largest file, and largest content of a packed one, in bytes, where the caller does not say otherwise."""

MAX_ELEMENTS = 2**24
"""Most numbers in all tensors of a file, where the caller does not say otherwise."""

MAX_TENSORS = 256

_MAX_HEADER = 2**20
_SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}
_SAFETENSORS |= {f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)}
_SAFETENSORS |= {f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)}


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
    name = "".join(c if c.isprintable() else "?" for c in re.split(r"[/\\]", name)[-1])[-100:]
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _READERS:
        raise InputError(f"{name or 'the file'} must end with one of {', '.join(SUFFIXES)}.")
    if not data:
        raise InputError(f"{name} is empty: it must hold at least one tensor.")
    if len(data) > max_bytes:
        raise InputError(f"{name} has {len(data):,} bytes; at most {max_bytes:,} are read.")
    file = _File(name, data, max_bytes, max_elements)
    with _damage_named(name, suffix):
        given, labels = _READERS[suffix](file)
        tensors = {key: _float32(tensor, file.title(key)) for key, tensor in given.items()}
    dtypes = {key: _dtype_name(tensor) for key, tensor in given.items()}
    return Upload(name, hashlib.sha256(data).hexdigest(), tensors, dtypes, labels)


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


Given = tuple[Mapping[str, npt.NDArray[np.generic] | torch.Tensor], tuple[str, ...]]


@dataclass(frozen=True)
class _File:
    name: str
    data: bytes
    max_bytes: int
    max_elements: int

    def title(self, key: str) -> str:
        """Name one tensor in a message."""
        return f"{self.name}: tensor {key[:40]!r}" if key else self.name

    def check(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Check the shapes and number formats that a file declares, before its numbers are read."""
        if not shapes:
            raise InputError(f"{self.name} holds no tensors: it must hold at least one.")
        if len(shapes) > MAX_TENSORS:
            raise InputError(f"{self.name} holds {len(shapes):,} tensors; at most {MAX_TENSORS} are read.")
        for key, (shape, dtype) in shapes.items():
            if dtype == "object":
                raise InputError(f"{self.title(key)} is pickled, which is never read: save it as an array of numbers.")
            if not re.fullmatch(r"b?float\d+|u?int\d+|bool", dtype):
                raise InputError(f"{self.title(key)} must hold numbers of a float, int or bool type, not {dtype[:40]}.")
            if len(shape) not in (2, 3) or min(shape) < 1:
                raise InputError(f"{self.title(key)} must be [L, E] or [N, L, E] and not empty, not {_shown(shape)}.")
        total = sum(math.prod(shape) for shape, _ in shapes.values())
        if total > self.max_elements:
            raise InputError(f"{self.name} holds {total:,} numbers; at most {self.max_elements:,} are read.")


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if len(shape) <= 6 else f"{len(shape)} dimensions"


@contextmanager
def _damage_named(name: str, suffix: str) -> Iterator[None]:
    """Turn whatever a parser raises on hostile bytes into one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception:
        raise InputError(f"{name} is damaged, or is not a {suffix} file: save it again.") from None


def _dtype_name(given: npt.NDArray[np.generic] | torch.Tensor) -> str:
    return given.dtype.name if isinstance(given, np.ndarray) else str(given.dtype).removeprefix("torch.")


def _float32(given: npt.NDArray[np.generic] | torch.Tensor, title: str) -> torch.Tensor:
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


def _read_npy(file: _File) -> Given:
    return _arrays({"": file.data}, file), ()


def _read_npz(file: _File) -> Given:
    members = read_archive(file.data, name=file.name, max_bytes=file.max_bytes)
    arrays = {key.removesuffix(".npy"): data for key, data in members.items() if key.endswith(".npy")}
    return _arrays(arrays, file), ()


def _arrays(packed: dict[str, bytes], file: _File) -> dict[str, npt.NDArray[np.generic]]:
    file.check({key: describe_npy(data) for key, data in packed.items()})
    return {key: load_npy(data) for key, data in packed.items()}


def _read_csv(file: _File) -> Given:
    try:
        text = file.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file.name} must be text in UTF-8: save it as CSV UTF-8.") from None
    try:
        table = parse_table(text, max_characters=file.max_bytes, max_numbers=file.max_elements)
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None
    return {"": table.values}, table.labels


def _safetensors_dtype(code: str) -> str:
    if not re.fullmatch(r"\w{1,20}", code):
        raise ValueError("a number format that is not a name")
    return _SAFETENSORS.get(code, code)


def _read_safetensors(file: _File) -> Given:
    size = int.from_bytes(file.data[:8], "little")
    room = len(file.data) - 8 - size
    if size > _MAX_HEADER or room < 0:
        raise ValueError("a header longer than the file")
    header = json.loads(file.data[8 : 8 + size])
    header.pop("__metadata__", None)
    shapes = {key: (tuple(about["shape"]), _safetensors_dtype(about["dtype"])) for key, about in header.items()}
    sizes = [size for key, (shape, _) in shapes.items() for size in (*shape, *header[key]["data_offsets"])]
    if any(type(size) is not int or size < 0 for size in sizes):
        raise ValueError("a size that is not a whole number")
    file.check(shapes)
    for key, (shape, dtype) in shapes.items():
        begin, end = header[key]["data_offsets"]
        if not begin <= end <= room or end - begin != math.prod(shape) * getattr(torch, dtype).itemsize:
            raise ValueError("a tensor that reaches outside the file")
    return safetensors.torch.load(file.data), ()


def _read_torch(file: _File) -> Given:
    if file.data.startswith(b"\x80"):
        what = "is a bare pickle, as torch before 1.6 wrote, which is never read"
        raise InputError(f"{file.name} {what}: save it with a newer torch.save.")
    members = read_archive(file.data, name=file.name, max_bytes=file.max_bytes)
    found = parts(members, name=file.name)
    described = describe(found["data.pkl"], name=file.name)
    file.check({key: (tensor.shape, str(tensor.dtype).removeprefix("torch.")) for key, tensor in described.items()})
    check_parts(found, described)
    return load_parts(found, described), ()


_READERS: dict[str, Callable[[_File], Given]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_csv,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
}

SUFFIXES = tuple(_READERS)
"""Suffixes of the files that are read, each with its dot."""
