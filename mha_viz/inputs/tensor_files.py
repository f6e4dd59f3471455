"""Files of named tensors: sizes and shapes are checked before numbers are read, and nothing is unpickled.

`READERS` knows .npy, .npz, .safetensors and .pt. What the tensors may look like is said by the caller, in a `File`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch

from mha_viz.errors import InputError
from mha_viz.inputs.archive import read_archive
from mha_viz.inputs.numpy_file import describe_npy, load_npy
from mha_viz.inputs.torch_file import check_parts, describe, load_parts, parts

MAX_TENSORS = 256

Array = npt.NDArray[np.generic] | torch.Tensor

_MAX_HEADER = 2**20
_SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool"}
_SAFETENSORS |= {f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)}
_SAFETENSORS |= {f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)}


@dataclass(frozen=True)
class Limits:
    """Which files and tensors a caller reads.

    Attributes:
        suffixes: Of the files, in lower case, each with its dot.
        max_bytes: Most bytes, of the file and of what it unpacks to.
        max_elements: Most numbers in all its tensors together.
        dimensions: The numbers of dimensions that a tensor may have.
        layout: The same in words, such as "[L, E] or [N, L, E]".
    """

    suffixes: tuple[str, ...]
    max_bytes: int
    max_elements: int
    dimensions: tuple[int, ...]
    layout: str


@dataclass(frozen=True)
class File:
    """A file of tensors, not yet read.

    Attributes:
        name: What messages call it: its name without folders, printable, at most 100 characters.
        data: Its bytes.
        limits: What of it is read.
    """

    name: str
    data: bytes
    limits: Limits

    @classmethod
    def opened(cls, name: str, data: bytes, limits: Limits) -> File:
        """Return a file whose name and size were checked; `name` may have folders, and its suffix says the format.

        Raises:
            InputError: The file is empty or too large, or its suffix is unknown.
        """
        name = "".join(c if c.isprintable() else "?" for c in re.split(r"[/\\]", name)[-1])[-100:]
        file = cls(name, data, limits)
        if file.suffix not in limits.suffixes:
            raise InputError(f"{name or 'the file'} must end with one of {', '.join(limits.suffixes)}.")
        if not data:
            raise InputError(f"{name} is empty: it must hold at least one tensor.")
        if len(data) > limits.max_bytes:
            raise InputError(f"{name} has {len(data):,} bytes; at most {limits.max_bytes:,} are read.")
        return file

    @property
    def suffix(self) -> str:
        """The end of the name that says the format, in lower case, with its dot."""
        return PurePosixPath(self.name).suffix.lower()

    def title(self, key: str) -> str:
        """Name one tensor in a message."""
        return f"{self.name}: tensor {key[:40]!r}" if key else self.name

    def check(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        """Check the shapes and number formats that a file declares, before its numbers are read.

        Args:
            shapes: Shape and number format, such as "float64", of each tensor by name.

        Raises:
            InputError: They are not what may be read.
        """
        if not shapes:
            raise InputError(f"{self.name} holds no tensors: it must hold at least one.")
        if len(shapes) > MAX_TENSORS:
            raise InputError(f"{self.name} holds {len(shapes):,} tensors; at most {MAX_TENSORS} are read.")
        for key, (shape, dtype) in shapes.items():
            if dtype == "object":
                raise InputError(f"{self.title(key)} is pickled, which is never read: save it as an array of numbers.")
            if not re.fullmatch(r"b?float\d+|u?int\d+|bool", dtype):
                raise InputError(f"{self.title(key)} must hold numbers of a float, int or bool type, not {dtype[:40]}.")
            if len(shape) not in self.limits.dimensions or min(shape) < 1:
                raise InputError(f"{self.title(key)} must be {self.limits.layout} and not empty, not {_shown(shape)}.")
        total = sum(math.prod(shape) for shape, _ in shapes.values())
        if total > self.limits.max_elements:
            raise InputError(f"{self.name} holds {total:,} numbers; at most {self.limits.max_elements:,} are read.")


def _shown(shape: tuple[int, ...]) -> str:
    return str(list(shape)) if len(shape) <= 6 else f"{len(shape)} dimensions"


@contextmanager
def damage_named(file: File) -> Iterator[None]:
    """Turn whatever a parser raises on hostile bytes into one sentence."""
    try:
        yield
    except InputError:
        raise
    except Exception:
        raise InputError(f"{file.name} is damaged, or is not a {file.suffix} file: save it again.") from None


def utf8(file: File) -> str:
    """Return the text of a file.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return file.data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file.name} must be text in UTF-8: save it as CSV UTF-8.") from None


def _read_npy(file: File) -> Mapping[str, Array]:
    return _arrays({"": file.data}, file)


def _read_npz(file: File) -> Mapping[str, Array]:
    members = read_archive(file.data, name=file.name, max_bytes=file.limits.max_bytes)
    arrays = {key.removesuffix(".npy"): data for key, data in members.items() if key.endswith(".npy")}
    return _arrays(arrays, file)


def _arrays(packed: dict[str, bytes], file: File) -> dict[str, npt.NDArray[np.generic]]:
    file.check({key: describe_npy(data) for key, data in packed.items()})
    return {key: load_npy(data) for key, data in packed.items()}


def _safetensors_dtype(code: str) -> str:
    if not re.fullmatch(r"\w{1,20}", code):
        raise ValueError("a number format that is not a name")
    return _SAFETENSORS.get(code, code)


def _read_safetensors(file: File) -> Mapping[str, Array]:
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
    return safetensors.torch.load(file.data)


def _read_torch(file: File) -> Mapping[str, Array]:
    if file.data.startswith(b"\x80"):
        what = "is a bare pickle, as torch before 1.6 wrote, which is never read"
        raise InputError(f"{file.name} {what}: save it with a newer torch.save.")
    members = read_archive(file.data, name=file.name, max_bytes=file.limits.max_bytes)
    found = parts(members, name=file.name)
    described = describe(found["data.pkl"], name=file.name)
    file.check({key: (tensor.shape, str(tensor.dtype).removeprefix("torch.")) for key, tensor in described.items()})
    check_parts(found, described)
    return load_parts(found, described)


READERS: dict[str, Callable[[File], Mapping[str, Array]]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
}
"""How the tensors of a file are read, by suffix; each tensor keeps its number format."""
