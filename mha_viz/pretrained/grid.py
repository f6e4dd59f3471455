"""The patches of a model of pictures: how the picture is prepared for them, and what each token is called."""

from __future__ import annotations

from typing import Any

from mha_viz.pretrained.loading import Loaded
from mha_viz.pretrained.picture import Preparation

DEFAULT_SIZE = 224


def preparation(loaded: Loaded) -> Preparation:
    """Return how a model's pictures are prepared; errors are as those of `Preparation.of`."""
    config: Any = loaded.model.config
    return Preparation.of(loaded.picture, pair(getattr(config, "image_size", None) or DEFAULT_SIZE))


def patch_labels(config: Any, size: tuple[int, int], length: int) -> tuple[str, ...] | None:
    """Return a label for each of `length` tokens: special ones, then `row,column` of each patch.

    Args:
        config: Of the model; it says how large a patch is.
        size: Height and width of the picture, in pixels.
        length: L.

    Returns:
        None where the tokens are not one for each patch behind the special ones that this kind of model has.
    """
    patch = getattr(config, "patch_size", None)
    if patch is None:
        return None
    rows, columns = (pixels // side for pixels, side in zip(size, pair(patch), strict=True))
    registers = getattr(config, "num_register_tokens", 0)
    first = ("[CLS]", *["[DIST]"] * (getattr(config, "model_type", "") == "deit"))
    special = (*first, *(f"[REG {i}]" for i in range(1, registers + 1)))
    patches = tuple(f"{row},{column}" for row in range(rows) for column in range(columns))
    return next((found for found in (patches, (*special, *patches)) if len(found) == length), None)


def pair(size: Any) -> tuple[int, int]:
    """Return height and width of what is one number for both, or a pair."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
