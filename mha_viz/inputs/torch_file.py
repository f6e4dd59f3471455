"""Files that `torch.save` wrote: described first, without running anything, then read with `weights_only=True`.

A .pt file is a zip archive of one pickle and the raw numbers of each tensor. A pickle is a list of instructions; the
ones that `torch.save` writes for tensors are few, and `describe` follows them with plain values: it calls nothing,
whatever the file asks for. Only an archive that turns out to hold a tensor, or a flat dict of tensors, within limits
is passed on to `torch.load`, and of it only the parts that were checked.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from mha_viz.errors import InputError

MAX_INSTRUCTIONS = 100_000

_DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_DICT = "collections OrderedDict"
_NAMES = {_TENSOR, _PARAMETER, _DICT, *(f"torch {storage}" for storage in _DTYPES)}
_VALUES = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class _Mark:
    """Where a run of values on the stack starts."""


@dataclass(frozen=True)
class _Name:
    """A function or class that the file names; it is never looked up."""

    text: str


@dataclass(frozen=True)
class _Storage:
    dtype: torch.dtype
    key: str
    count: int


@dataclass(frozen=True)
class DescribedTensor:
    """What a file says of one tensor: where its numbers lie, and how.

    Attributes:
        dtype: Its number format.
        key: Name of the archive's member that holds its numbers, without the folder.
        count: How many numbers that member holds.
        offset: Index of the tensor's first number in it.
        shape: Size of each dimension.
        stride: Step from one number to the next, for each dimension.
    """

    dtype: torch.dtype
    key: str
    count: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def fits(self) -> bool:
        """Whether every number of the tensor lies inside its member."""
        if len(self.shape) != len(self.stride) or min((*self.shape, *self.stride, self.offset, self.count)) < 0:
            return False
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))
        return 0 in self.shape or last < self.count


class _Unreadable(Exception):
    """The pickle holds something other than tensors; the text completes "NAME ..."."""


def describe(pickled: bytes, *, name: str) -> dict[str, DescribedTensor]:
    """Say which tensors a pickle of `torch.save` holds, without unpickling it; a tensor of its own is called "".

    Raises:
        InputError: It holds anything but a tensor or a flat dict of tensors.
        ValueError: It is damaged (and IndexError, KeyError, TypeError).
    """
    try:
        held = _follow(pickled)
    except _Unreadable as error:
        raise InputError(f"{name} {error}: only a tensor, or a flat dict of tensors, is read.") from None
    if isinstance(held, DescribedTensor):
        return {"": held}
    if not isinstance(held, dict):
        raise InputError(f"{name} holds {_kind(held)}: only a tensor, or a flat dict of tensors, is read.")
    for key, value in held.items():
        if not isinstance(value, DescribedTensor):
            what = f"{name} holds {_kind(value)} named {key[:40]!r}"
            raise InputError(f"{what}: only a tensor, or a flat dict of tensors, is read.")
    return held


def _kind(value: Any) -> str:
    return {dict: "a dict", tuple: "a tuple", str: "a text", type(None): "None"}.get(type(value), "a value")


def _follow(pickled: bytes) -> Any:
    """Follow the instructions on a stack of plain values; the result is built of dicts, tuples and descriptions."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    given: Any
    for count, (instruction, given, _) in enumerate(pickletools.genops(pickled)):
        code = instruction.name
        if count >= MAX_INSTRUCTIONS:
            raise _Unreadable(f"has a table of contents of more than {MAX_INSTRUCTIONS:,} instructions")
        if code == "STOP":
            return stack.pop()
        if code in ("BINPUT", "LONG_BINPUT"):
            memo[given] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(memo[given])
        elif code in _VALUES:
            stack.append(given)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        else:
            _step(code, given, stack)
    raise ValueError("no STOP")


def _step(code: str, given: Any, stack: list[Any]) -> None:
    match code:
        case "PROTO":
            if given != 2:
                raise _Unreadable(f"is written in pickle protocol {given}, where torch.save writes 2")
        case "GLOBAL":
            if given not in _NAMES:
                raise _Unreadable(f"asks to call {'.'.join(given.split())[:60]!r}, which is never done")
            stack.append(_Name(given))
        case "EMPTY_DICT":
            stack.append({})
        case "MARK":
            stack.append(_Mark())
        case "TUPLE":
            stack.append(tuple(_above_mark(stack)))
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            size = int(code[-1])
            stack[-size:] = [tuple(stack[-size:])]
        case "BINPERSID":
            stack.append(_storage(stack.pop()))
        case "REDUCE":
            arguments = stack.pop()
            stack.append(_call(stack.pop(), arguments))
        case "BUILD":
            state = stack.pop()
            if not (isinstance(stack[-1], dict) and isinstance(state, dict) and list(state) == ["_metadata"]):
                raise _Unreadable("holds an object with attributes")  # a state_dict's _metadata is left unread
        case "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack[-1], [key, value])
        case "SETITEMS":
            items = _above_mark(stack)
            _set_items(stack[-1], items)
        case _:
            raise _Unreadable("holds something other than tensors")


def _above_mark(stack: list[Any]) -> list[Any]:
    values = []
    while not isinstance(value := stack.pop(), _Mark):
        values.append(value)
    return values[::-1]


def _set_items(target: Any, items: list[Any]) -> None:
    if not isinstance(target, dict) or len(items) % 2:
        raise _Unreadable("holds something other than tensors")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str):
            raise _Unreadable("holds a dict whose keys are not texts")
        target[key] = value


def _storage(identity: Any) -> _Storage:
    match identity:
        case ("storage", _Name(text), str(key), str(), int(count)) if text.startswith("torch "):
            return _Storage(_DTYPES[text.removeprefix("torch ")], key, count)
    raise _Unreadable("holds numbers in an unknown form")


def _call(function: Any, arguments: Any) -> Any:
    """Return the description of what a call would give, for the three calls that `torch.save` writes for tensors."""
    name = function.text if isinstance(function, _Name) else ""
    match arguments:
        case () if name == _DICT:
            return {}
        case (DescribedTensor() as tensor, bool(), dict() as hooks) if name == _PARAMETER and not hooks:
            return tensor
        case (_Storage() as held, int(offset), tuple(shape), tuple(stride), bool(), dict() as hooks) if not hooks:
            if name == _TENSOR and all(type(size) is int for size in (*shape, *stride)):
                return DescribedTensor(held.dtype, held.key, held.count, offset, shape, stride)
    raise _Unreadable("holds a tensor in an unknown form")


def parts(members: Mapping[str, bytes], *, name: str) -> dict[str, bytes]:
    """Return the members of a `torch.save` archive without their common folder: data.pkl, data/0, ...

    Raises:
        InputError: The archive is not one that `torch.save` wrote.
    """
    folders = [member.removesuffix("data.pkl") for member in members if re.fullmatch(r"[^/]+/data\.pkl", member)]
    if len(folders) != 1:
        raise InputError(f"{name} is a zip archive, but not one that torch.save wrote: it has no data.pkl.")
    found = {member.removeprefix(folders[0]): content for member, content in members.items()}
    if "constants.pkl" in found:
        raise InputError(f"{name} is a TorchScript program, which is never run: save its tensors alone.")
    return found


def check_parts(found: Mapping[str, bytes], described: Mapping[str, DescribedTensor]) -> None:
    """Check that every described tensor lies inside numbers that are really there.

    Raises:
        ValueError: One does not.
    """
    for tensor in described.values():
        content = found[f"data/{tensor.key}"]
        if not tensor.key.isdecimal() or len(content) != tensor.count * tensor.dtype.itemsize or not tensor.fits:
            raise ValueError("a tensor reaches outside its numbers")


def load_parts(found: Mapping[str, bytes], described: Mapping[str, DescribedTensor]) -> dict[str, torch.Tensor]:
    """Read the tensors of a checked archive, from a clean copy of the parts that were checked.

    Raises:
        Exception: Whatever `torch.load` raises on a damaged file.
    """
    copy = io.BytesIO()
    wanted = ["data.pkl", "byteorder", *dict.fromkeys(f"data/{tensor.key}" for tensor in described.values())]
    with zipfile.ZipFile(copy, "w") as archive:
        archive.writestr("archive/version", b"3\n")
        for part in wanted:
            if part in found:
                archive.writestr(f"archive/{part}", found[part])
    copy.seek(0)
    loaded = torch.load(copy, map_location="cpu", weights_only=True)
    tensors = {"": loaded} if isinstance(loaded, torch.Tensor) else dict(loaded)
    return {key: tensors[key].detach() for key in described}
