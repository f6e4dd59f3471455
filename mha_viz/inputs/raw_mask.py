"""Masks of files, as they are: `read_mask` keeps shape, number format and values, because the mistake may be in them.

It knows .npy, .npz, .pt, .safetensors, .csv and .png. Whatever the bytes are, it returns a `RawMask` or raises
`InputError`; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from mha_viz.errors import InputError
from mha_viz.inputs.tensor_files import READERS, Array, File, Limits, damage_named, utf8
from mha_viz.inputs.written import from_table

MAX_ELEMENTS = 4_096 * 4_096
"""Most elements of one mask."""

SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors", ".csv", ".png")
"""Suffixes of the files that are read, each with its dot."""

LIMITS = Limits(
    SUFFIXES,
    max_bytes=8 * MAX_ELEMENTS + 2**20,  # the largest mask in float64, and room for headers and a padding mask
    max_elements=2 * MAX_ELEMENTS,
    dimensions=(1, 2, 3, 4),
    layout="a mask of 1 to 4 dimensions",
)

ROLES = {"attn_mask": "attn_mask", "mask": "attn_mask", "key_padding_mask": "key_padding_mask"}
"""The names by which a tensor says which argument it is."""

_LIGHT = 128


@dataclass(frozen=True, eq=False)
class RawMask:
    """One mask, or an `attn_mask` and a `key_padding_mask`, just as they were given.

    Attributes:
        tensors: CPU tensors of 1 to 4 dimensions by "attn_mask" and "key_padding_mask", or one tensor by "" where
            nothing says which of the two it is. Bool, whole numbers or floats: as in the source.
        name: What messages call the source.
        digest: SHA-256 of the source, in hexadecimal.
    """

    tensors: dict[str, torch.Tensor]
    name: str
    digest: str


def read_mask(name: str, data: bytes) -> RawMask:
    """Read the mask, or both masks, of a file.

    A file of several tensors must call them `attn_mask` (or `mask`) and `key_padding_mask`; others in it are left out.
    A table of True and False is bool, one of whole numbers int64, any other float32. A picture is bool, one pixel a
    cell: light (grey level of 128 to 255) is True and dark is False, as paper shows it where it is transparent; it
    says nothing of what True means.

    Args:
        name: The file's name; the suffix says the format.
        data: Its bytes, at most 129 MiB; a mask has at most 4,096 * 4,096 elements.

    Raises:
        InputError: The file is empty, too large, damaged or pickled, its suffix is unknown, or it holds no mask of 1
            to 4 dimensions.
    """
    file = File.opened(name, data, LIMITS)
    with damage_named(file):
        tensors = _by_role(_given(file), file)
    return RawMask(tensors, file.name, hashlib.sha256(data).hexdigest())


def _given(file: File) -> Mapping[str, Array]:
    if file.suffix == ".png":
        return {"": _picture(file)}
    if file.suffix != ".csv":
        return READERS[file.suffix](file)
    text = utf8(file)
    try:
        return {"": from_table(text, header=True, max_elements=MAX_ELEMENTS)}
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None


def _by_role(given: Mapping[str, Array], file: File) -> dict[str, torch.Tensor]:
    if len(given) == 1:
        ((key, array),) = given.items()
        return {ROLES.get(key, ""): _tensor(array, file.title(key))}
    known = [key for key in given if key in ROLES]
    if not known:
        names = ", ".join(repr(key[:40]) for key in list(given)[:8]) + (", ..." if len(given) > 8 else "")
        raise InputError(f"{file.name} must call its masks attn_mask and key_padding_mask; it has {names}.")
    if {"attn_mask", "mask"} <= set(known):
        raise InputError(f"{file.name} has both 'attn_mask' and 'mask', which mean the same: save one of them.")
    return {ROLES[key]: _tensor(given[key], file.title(key)) for key in known}


def _tensor(array: Array, title: str) -> torch.Tensor:
    if (size := math.prod(array.shape)) > MAX_ELEMENTS:
        raise InputError(f"{title} has {size:,} elements; a mask has at most {MAX_ELEMENTS:,}.")
    if isinstance(array, torch.Tensor):
        return array.contiguous()
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(plain)
    except TypeError:
        raise InputError(f"{title} holds {array.dtype.name} numbers, which torch does not have.") from None


def _picture(file: File) -> torch.Tensor:
    """Return a bool [height, width], True where light."""
    from PIL import Image, PngImagePlugin

    # Opened by its class, so that its size is known, and checked here, before anything else is done with it.
    image: Image.Image = PngImagePlugin.PngImageFile(io.BytesIO(file.data))
    width, height = image.size
    if width * height > MAX_ELEMENTS:
        size = f"{width:,} x {height:,} pixels, {width * height:,} in all"
        raise InputError(f"{file.name} has {size}; a mask has at most {MAX_ELEMENTS:,}.")
    if image.mode.startswith("I"):  # 16 bits a pixel
        return torch.from_numpy(np.asarray(image) >= _LIGHT * 256)
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return torch.from_numpy(np.asarray(image.convert("L")) >= _LIGHT)
