"""Pictures to what a model of pictures is given, by Pillow and NumPy, as the model's preprocessor_config.json says."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mha_viz.errors import InputError
from mha_viz.inputs import store
from mha_viz.inputs.tensor_files import File, Limits, damage_named
from mha_viz.inputs.upload import Upload

FORMATS = ("PNG", "JPEG", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 40_000_000
MAX_SIDE = 1_024
"""Longest side at which an uploaded picture is kept, in pixels."""

_LIMITS = Limits(SUFFIXES, 32 * 2**20, 3 * MAX_PIXELS, (3,), "a picture")


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes numbers.

    Attributes:
        height: Of what the model sees, in pixels.
        width: Likewise.
        shortest: Length to which the shorter side is brought before the middle is cut out; None: the whole picture is
            brought to height and width.
        resample: Pillow's number of the filter.
        factor: What the bytes of a pixel are multiplied by.
        mean: Then subtracted, for each channel.
        std: Then divided by.
    """

    height: int
    width: int
    shortest: int | None = None
    resample: int = Image.Resampling.BILINEAR
    factor: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def of(cls, about: Mapping[str, Any], image_size: tuple[int, int]) -> Preparation:
        """Read a preprocessor_config.json; what it does not say is as above, at the size that the model is made for.

        Raises:
            InputError: It says something that is not of the expected kind.
        """
        try:
            return cls(*_sizes(about, image_size), **_numbers(about))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"The model's preprocessor_config.json can't be used: {error}") from error

    def seen(self, image: Image.Image) -> Image.Image:
        """Return the part of a picture that the model sees, as RGB of `width` by `height` pixels."""
        image = _rgb(image)
        if self.shortest is None:
            return image.resize((self.width, self.height), self.resample)
        width, height = (int(self.shortest * side / min(image.size)) for side in image.size)
        image = image.resize((width, height), self.resample)
        left, top = (image.width - self.width) // 2, (image.height - self.height) // 2
        return image.crop((left, top, left + self.width, top + self.height))

    def pixels(self, image: Image.Image) -> Tensor:
        """Return a picture as float32 [1, 3, height, width]."""
        values = torch.from_numpy(np.array(self.seen(image))).float() * self.factor  # [height, width, 3]
        values = (values - torch.tensor(self.mean)) / torch.tensor(self.std)
        return values.permute(2, 0, 1).contiguous()[None]


def _sizes(about: Mapping[str, Any], image_size: tuple[int, int]) -> tuple[int, int, int | None]:
    """Return height, width and the length of the shorter side; a bare number means that side where a crop follows."""
    if not about.get("do_resize", True):
        return (*image_size, None)
    crops, size = about.get("do_center_crop", False), about.get("size", image_size)
    if isinstance(size, int):
        size = {"shortest_edge": size} if crops else (size, size)
    if isinstance(size, Mapping) and "shortest_edge" in size:
        height, width = _pair(about.get("crop_size", image_size)) if crops else image_size
        return height, width, int(size["shortest_edge"])
    return (*_pair(size), None)


def _pair(size: Any) -> tuple[int, int]:
    """Return height and width of a number, a pair, or a mapping."""
    if isinstance(size, Mapping):
        return int(size["height"]), int(size["width"])
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _numbers(about: Mapping[str, Any]) -> dict[str, Any]:
    resample = about.get("resample")
    found: dict[str, Any] = {"resample": Image.Resampling.BILINEAR if resample is None else int(resample)}
    found["factor"] = float(about.get("rescale_factor", 1 / 255)) if about.get("do_rescale", True) else 1.0
    for name in ("mean", "std"):
        plain = (0.0,) * 3 if name == "mean" else (1.0,) * 3
        given = about.get(f"image_{name}", (0.5,) * 3) if about.get("do_normalize", True) else plain
        first, second, third = given
        found[name] = (float(first), float(second), float(third))
    return found


def _rgb(image: Image.Image) -> Image.Image:
    """Return a picture upright, in RGB, on white where it is transparent."""
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert("RGB")


def hold_image(name: str, data: bytes) -> str:
    """Keep an uploaded picture, at most 1,024 pixels a side, and return the text that a Reading names it by.

    Args:
        name: The file's name; PNG, JPEG and WebP are read.
        data: Its bytes, at most 32 MiB.

    Raises:
        InputError: It is empty, too large, damaged, or no picture.
    """
    file = File.opened(name, data, _LIMITS)
    with damage_named(file):
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            size = f"{image.width:,} x {image.height:,}"
            raise InputError(f"{file.name} has {size} pixels; a picture has at most {MAX_PIXELS:,}.")
        image = _rgb(image)
        image.thumbnail((MAX_SIDE, MAX_SIDE))
    pixels = torch.from_numpy(np.array(image))  # uint8 [height, width, 3]
    return store.put(Upload(file.name, hashlib.sha256(data).hexdigest(), {"": pixels}, {"": "uint8"}))


def held_image(reference: str) -> Image.Image:
    """Return the picture that `hold_image` kept.

    Raises:
        InputError: None was given, or it is not on this server any more.
    """
    if not reference:
        raise InputError("This model reads pictures: upload one.", field="image")
    tensors = store.get(reference).tensors
    pixels = tensors.get("")
    if pixels is None or pixels.dtype != torch.uint8:
        raise InputError("image must be an uploaded picture, not a file of numbers.", field="image")
    return Image.fromarray(pixels.numpy())
