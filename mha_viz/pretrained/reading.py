"""A pretrained model reads text or a picture: the Run of its own attention."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.pretrained import room
from mha_viz.pretrained.batch import batch
from mha_viz.pretrained.choice import Reading
from mha_viz.pretrained.forward import Sequence, run_model
from mha_viz.pretrained.grid import patch_labels, preparation
from mha_viz.pretrained.loading import PICTURES, Loaded, load
from mha_viz.pretrained.permission import allowed
from mha_viz.pretrained.picture import held_image


def read(reading: Reading, *, device: str = "auto", local: bool = True) -> Run:
    """Return the attention of a pretrained model over a text, or over an uploaded picture.

    The weights are the model's own, just as it returns them with `output_attentions=True`: in float32, eval mode, with
    explicit ("eager") attention.

    Args:
        reading: The model and what it reads.
        device: As `load` takes it; `auto` is the first GPU there is, else the CPU.
        local: Whether only this machine reaches the server; decides with `MHA_VIZ_MODELS` what may be loaded.

    Returns:
        A Run with one layer for each attention, in call order, named as in the model's module tree; weights
        [N, H, L, S] on the device. Where `nn.MultiheadAttention` with a layer's projections gives the same weights to
        1e-4, the layer has its `call`.

    Raises:
        InputError: transformers or the model is not there, may not be loaded, or can't read this.
        CapacityError: It would need more memory than the limit.
        DeviceError: The device is not on this machine.
    """
    allowed(reading.model, local=local)
    loaded = load(reading.model, device)
    if loaded.reads == PICTURES:
        return _of_picture(loaded, held_image(reading.image))
    return _of_text(loaded, reading.model_text, reading.model_text_2)


def read_image(model: str, image: Image.Image, *, device: str = "auto", local: bool = True) -> Run:
    """Return the attention of a pretrained model of pictures (ViT-like) over a picture.

    Its tokens are the patches, labelled `row,column`, behind special ones such as `[CLS]`. Arguments, result and errors
    are otherwise those of `read`.
    """
    allowed(model, local=local)
    return _of_picture(_of_pictures(model, device), image)


def seen_image(model: str, image: Image.Image, *, device: str = "auto", local: bool = True) -> Image.Image:
    """Return the part of a picture that a model sees, at the model's own size; arguments and errors as `read_image`."""
    allowed(model, local=local)
    return preparation(_of_pictures(model, device)).seen(image)


def _of_pictures(model: str, device: str) -> Loaded:
    loaded = load(model, device)
    if loaded.reads != PICTURES:
        raise InputError(f"{loaded.title} reads text, not pictures.", field="model")
    return loaded


def _of_text(loaded: Loaded, first: str, second: str) -> Run:
    given = batch(loaded, first, second)
    items, lengths = given.sequences["source"].items, [s.length for s in given.sequences.values()]
    room.check(loaded.title, loaded.model.config, items, *lengths)
    run = run_model(loaded, given.arguments, given.sequences)
    if not given.special:
        return run
    note = f"Special tokens, which stand for no text: {' '.join(given.special)}"
    return replace(run, notes=(*run.notes, note))


def _of_picture(loaded: Loaded, image: Image.Image) -> Run:
    pixels = preparation(loaded).pixels(image)
    height, width = pixels.shape[2], pixels.shape[3]
    room.check(loaded.title, loaded.model.config, 1, _most_patches(loaded, height * width))
    run = run_model(loaded, {PICTURES: pixels.to(loaded.device)}, {"source": Sequence(1)})
    layers = tuple(_with_patches(loaded, layer, (height, width)) for layer in run.layers)
    notes = run.notes
    if not loaded.picture:
        notes += (
            f"The model does not say how pictures are prepared: taken at {height} x {width} pixels, from -1 to 1.",
        )
    if any(layer.query_tokens is None for layer in layers):
        notes += ("In some layers the tokens are not one for each patch of the picture, so they are numbered.",)
    return replace(run, layers=layers, notes=notes)


def _most_patches(loaded: Loaded, pixels: int) -> int:
    patch = getattr(loaded.model.config, "patch_size", None)
    return pixels // (patch * patch if isinstance(patch, int) else 16 * 16) + 1


def _with_patches(loaded: Loaded, layer: LayerAttention, size: tuple[int, int]) -> LayerAttention:
    labels = patch_labels(loaded.model.config, size, layer.weights.shape[2])
    tokens = None if labels is None else (labels,)
    return replace(layer, query_tokens=tokens, key_tokens=tokens)
