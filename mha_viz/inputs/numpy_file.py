"""Arrays as NumPy saves them: the header is checked before a number is read, and objects are never unpickled."""

from __future__ import annotations

import io
import math
import re

import numpy as np
import numpy.typing as npt

# A header is the text of a dict, which NumPy parses as a Python literal. Only the plain kind goes that far: it may hold
# nothing on which that parser, or the one for number formats, warns or works long.
_VALUE = r"""(?:(['"])[<>=|]?[biufcOSUVMm]\d*(?:\[\w*\])?\2|True|False|\([\d,\s]*\))"""
_ITEM = rf"""(['"])\w+\1\s*:\s*{_VALUE}\s*"""
_ITEM_AGAIN = _ITEM.replace(r"\2", r"\4").replace(r"\1", r"\3")
_HEADER = re.compile(rf"\s*\{{\s*{_ITEM}(?:,\s*{_ITEM_AGAIN})*(?:,\s*)?\}}\s*")
_STRUCTURED = re.compile(r"""\s*\{\s*['"]descr['"]\s*:\s*\[""")
_MAX_HEADER = 10_000


def describe_npy(data: bytes) -> tuple[tuple[int, ...], str]:
    """Return shape and number format of a .npy file from its header.

    Raises:
        ValueError: The header is damaged, or the numbers after it are more or fewer than it says (and `TypeError`).
    """
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("a version for names of columns that are not Latin")
    start = stream.tell()
    size = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
    text = stream.read(min(size, _MAX_HEADER)).decode("latin1")
    if _STRUCTURED.match(text):
        return (), "a structure of columns"
    if not _HEADER.fullmatch(text):
        raise ValueError("not the header of a plain array")
    stream.seek(start)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream, _MAX_HEADER)
    if not dtype.hasobject and len(data) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError("more or fewer numbers than the header says")
    return shape, dtype.name


def load_npy(data: bytes) -> npt.NDArray[np.generic]:
    """Read the array of a .npy file that `describe_npy` has checked."""
    array: npt.NDArray[np.generic] = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return array
