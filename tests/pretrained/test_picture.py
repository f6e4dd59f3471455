"""Models of pictures: preparation as transformers does it, patches as tokens, uploads."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from mha_viz.errors import InputError
from mha_viz.pretrained import Reading, hold_image, read, read_image, seen_image
from mha_viz.pretrained.picture import Preparation, held_image

WHOLE = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4])
MIDDLE = CLIPImageProcessorPil(size={"shortest_edge": 37}, crop_size={"height": 32, "width": 32})
PLAIN = ViTImageProcessorPil(size={"height": 32, "width": 32}, do_rescale=False, do_normalize=False, resample=0)


@pytest.fixture(scope="module")
def image():
    """Wider than high, and different everywhere."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 71, 3), dtype=np.uint8))


def _bytes(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("processor", [WHOLE, MIDDLE, PLAIN], ids=["whole", "middle", "plain"])
def test_pictures_are_prepared_as_transformers_prepares_them(processor, image, tmp_path):
    processor.save_pretrained(tmp_path)
    about = json.loads((tmp_path / "preprocessor_config.json").read_text())
    ours = Preparation.of(about, (32, 32)).pixels(image)
    theirs = torch.as_tensor(np.array(processor(image, return_tensors="np")["pixel_values"]))
    assert ours.shape == theirs.shape == (1, 3, 32, 32)
    assert (ours - theirs).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({}, (48, 64, None)),
        ({"size": 32}, (32, 32, None)),
        ({"size": 40, "do_center_crop": True, "crop_size": 32}, (32, 32, 40)),
        ({"size": {"shortest_edge": 40}}, (48, 64, 40)),
        ({"do_resize": False, "size": 32}, (48, 64, None)),
    ],
)
def test_older_ways_to_say_the_size_are_understood(about, expected):
    found = Preparation.of(about, (48, 64))
    assert (found.height, found.width, found.shortest) == expected


@pytest.mark.parametrize("about", [{"size": "big"}, {"size": {"longest_edge": 3}}, {"image_mean": [0.5]}])
def test_a_preparation_that_makes_no_sense_is_refused(about):
    with pytest.raises(InputError, match=r"^The model's preprocessor_config\.json can't be used: "):
        Preparation.of(about, (32, 32))


def test_a_small_vit_gives_its_own_weights_with_patches_as_tokens(saved, image, tmp_path):
    folder = shutil.copytree(saved("vit"), tmp_path / "vit")
    WHOLE.save_pretrained(folder)
    run = read_image(str(folder), image)
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager", local_files_only=True).eval()
    with torch.no_grad():
        own = model(**WHOLE(image, return_tensors="pt"), output_attentions=True).attentions
    assert len(run.layers) == 2
    for layer, weights in zip(run.layers, own, strict=True):
        assert layer.weights.shape == (1, 4, 17, 17)
        assert (layer.weights - weights).abs().max() <= 1e-5
        assert layer.call is not None
        assert layer.attn_mask is None
    assert run.key_tokens(0, 1) == ("[CLS]", *(f"{row},{column}" for row in range(4) for column in range(4)))
    assert run.notes == ()


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("vit", ("[CLS]", "0,0")),
        ("deit", ("[CLS]", "[DIST]", "0,0")),
        ("registers", ("[CLS]", "[REG 1]", "[REG 2]", "0,0")),
        ("siglip", ("0,0", "0,1")),
        ("mae", ("0", "1")),  # it drops most patches at random
    ],
)
def test_the_tokens_before_the_patches_depend_on_the_model(saved, image, name, first):
    run = read_image(saved(name), image)
    assert run.query_tokens()[: len(first)] == first
    numbered = "In some layers the tokens are not one for each patch of the picture, so they are numbered."
    assert (numbered in run.notes) == (name == "mae")
    assert run.notes[0].startswith("The model does not say how pictures are prepared: taken at 32 x 32 pixels")


def test_an_uploaded_picture_is_read_by_its_reference(saved, image):
    reference = hold_image("photos/cat.png", _bytes(image))
    assert reference.endswith(" cat.png")
    run = read(Reading(model=saved("vit"), image=reference))
    assert torch.equal(run.layers[0].weights, read_image(saved("vit"), image).layers[0].weights)
    seen = seen_image(saved("vit"), image)
    assert (seen.size, seen.mode) == ((32, 32), "RGB")
    np.testing.assert_array_equal(np.asarray(seen), np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)))


def test_an_upload_is_made_small_upright_and_opaque():
    wide = Image.new("RGBA", (3_000, 1_500), (255, 0, 0, 0))
    held = held_image(hold_image("a.png", _bytes(wide)))
    assert held.size == (1_024, 512)
    assert held.getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert held_image(hold_image("b.jpg", _bytes(Image.new("RGB", (40, 20)), "JPEG", exif=exif))).size == (20, 40)


@pytest.mark.parametrize(
    ("name", "data", "sentence"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"0" * 50, "a.png is damaged, or is not a .png file: save it again."),
        ("a.gif", b"GIF89a", "a.gif must end with one of .png, .jpg, .jpeg, .webp."),
        ("a.png", _bytes(Image.new("1", (8_000, 8_000))), "a.png has 8,000 x 8,000 pixels; a picture has at most "
         "40,000,000."),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(name, data, sentence):
    with pytest.raises(InputError) as refused:
        hold_image(name, data)
    assert str(refused.value) == sentence


def test_a_model_of_pictures_asks_for_one_and_a_model_of_text_refuses_it(saved, minilm, image):
    with pytest.raises(InputError, match=r"^This model reads pictures: upload one\.$"):
        read(Reading(model=saved("vit")))
    with pytest.raises(InputError, match=r"^The file 'cat\.png' is not on this server any more: upload it again\.$"):
        read(Reading(model=saved("vit"), image="0123456789abcdef cat.png"))
    with pytest.raises(InputError, match=r"^all-MiniLM-L6-v2 reads text, not pictures\.$"):
        read_image("built-in", image)
