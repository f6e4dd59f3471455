from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mha_viz.errors import InputError
from mha_viz.inputs.raw_mask import SUFFIXES, read_mask

CAUSAL = torch.ones(4, 6, dtype=torch.bool).triu(1)
PADDING = torch.arange(6) >= torch.tensor([[6], [4]])
FLOAT = torch.zeros(4, 6).masked_fill(CAUSAL, -torch.inf)

TENSOR_SUFFIXES = (".npy", ".npz", ".pt", ".pth", ".safetensors")
NAMED_SUFFIXES = (".npz", ".pt", ".safetensors")
TORCH_TYPES = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.float32,
    torch.float64,
)

every_tensor_suffix = pytest.mark.parametrize("suffix", TENSOR_SUFFIXES)
every_named_suffix = pytest.mark.parametrize("suffix", NAMED_SUFFIXES)
every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


def same(read: torch.Tensor, given: torch.Tensor) -> bool:
    """Compare values, shape and number format; NaN equals NaN."""
    numbers = read.to(torch.float64), given.to(torch.float64)
    return read.dtype == given.dtype and read.shape == given.shape and np.array_equal(*numbers, equal_nan=True)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def png(array: np.ndarray, mode: str | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(stream, format="PNG", **options)
    return stream.getvalue()


def refusal(name: str, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_mask(name, data)
    return str(caught.value)


# What is read


def test_the_known_suffixes() -> None:
    assert SUFFIXES == (".npy", ".npz", ".pt", ".pth", ".safetensors", ".csv", ".png")


@every_tensor_suffix
@pytest.mark.parametrize("dtype", TORCH_TYPES, ids=str)
def test_a_mask_keeps_its_number_format(suffix: str, dtype: torch.dtype, save: dict[str, Any]) -> None:
    data = save[suffix]({"m": CAUSAL.to(dtype)})
    read = read_mask(f"folder/a{suffix}", data)
    assert list(read.tensors) == [""]
    assert same(read.tensors[""], CAUSAL.to(dtype))
    assert read.name == f"a{suffix}"
    assert read.digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_bfloat16_is_kept(suffix: str, save: dict[str, Any]) -> None:
    assert same(read_mask(f"a{suffix}", save[suffix]({"m": FLOAT.bfloat16()})).tensors[""], FLOAT.bfloat16())


@every_tensor_suffix
@pytest.mark.parametrize("shape", [(6,), (1, 6), (2, 3, 4), (2, 2, 3, 4)], ids=str)
def test_one_to_four_dimensions_are_read(suffix: str, shape: tuple[int, ...], save: dict[str, Any]) -> None:
    tensor = torch.full(shape, -torch.inf)
    tensor.view(-1)[0] = torch.nan
    assert same(read_mask(f"a{suffix}", save[suffix]({"m": tensor})).tensors[""], tensor)


@pytest.mark.parametrize("name", [">f4", ">i8", ">f8", ">u2"])
def test_numbers_in_the_other_byte_order_are_read(name: str) -> None:
    array = np.asfortranarray(np.arange(24).reshape(4, 6).astype(name))
    read = read_mask("a.npy", npy(array)).tensors[""]
    assert np.array_equal(read.numpy(), array)
    assert read.numpy().dtype == np.dtype(name).newbyteorder("=")


@every_named_suffix
@pytest.mark.parametrize("name", ["attn_mask", "mask"])
def test_both_masks_of_a_file_are_told_apart_by_name(suffix: str, name: str, save: dict[str, Any]) -> None:
    data = save[suffix]({"weights": torch.zeros(2, 3), name: FLOAT, "key_padding_mask": PADDING})
    tensors = read_mask(f"a{suffix}", data).tensors
    assert sorted(tensors) == ["attn_mask", "key_padding_mask"]
    assert same(tensors["attn_mask"], FLOAT)
    assert same(tensors["key_padding_mask"], PADDING)


@every_named_suffix
@pytest.mark.parametrize(
    ("name", "role"), [("key_padding_mask", "key_padding_mask"), ("mask", "attn_mask"), ("m", ""), ("arr_0", "")]
)
def test_a_single_mask_is_read_under_any_name(suffix: str, name: str, role: str, save: dict[str, Any]) -> None:
    assert list(read_mask(f"a{suffix}", save[suffix]({name: PADDING})).tensors) == [role]


# Tables

NUMBERS = torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])
TABLES: dict[str, torch.Tensor] = {
    "True,False\nFalse,True\n": torch.tensor([[True, False], [False, True]]),
    "TRUE;FALSE\r\nFALSE;TRUE\r\n": torch.tensor([[True, False], [False, True]]),
    "0,1\n1,1": torch.tensor([[0, 1], [1, 1]]),
    "0\t-inf\n0\t0": NUMBERS,
    "\ufeff0.0, -Infinity\n\n0, 0\n": NUMBERS,
    "0.000e+00 -inf\n0.000e+00 0.000e+00\n": NUMBERS,
    "0,-inf,\n0,0,\n": NUMBERS,
    "# mask\n0,-inf\n0,0": NUMBERS,
    "a,b\n0,-inf\n0,0": NUMBERS,
    ",0,1\n0,0.0,-inf\n1,0.0,0.0\n": NUMBERS,
    ',"the","cat"\n"the",0.0,-inf\n"cat",0.0,0.0\n': NUMBERS,
    "True,2\nFalse,0": torch.tensor([[1, 2], [0, 0]]),
    "True,0.5": torch.tensor([[1.0, 0.5]]),
    "−1e9, nan": torch.tensor([[-1e9, torch.nan]]),
    f"0,{-(2**63)}": torch.tensor([[0, -(2**63)]]),
    "1": torch.tensor([[1]]),
}


@pytest.mark.parametrize("text", TABLES)
def test_a_table_says_its_number_format_by_its_words(text: str) -> None:
    assert same(read_mask("a.csv", text.encode()).tensors[""], TABLES[text])


@pytest.mark.parametrize("form", ["%.18e", "%g", "%d"])
@pytest.mark.parametrize("sign", [" ", ",", "\t", ";"])
def test_what_numpy_writes_as_text_is_read(form: str, sign: str) -> None:
    array = CAUSAL.numpy() if form == "%d" else FLOAT.numpy()
    stream = io.BytesIO()
    np.savetxt(stream, array, fmt=form, delimiter=sign, header="mask")
    read = read_mask("a.csv", stream.getvalue()).tensors[""]
    assert same(read, CAUSAL.to(torch.int64) if form == "%d" else FLOAT)


def test_a_large_table_is_read_within_seconds() -> None:
    text = "\n".join([",".join(["0"] * 2_000)] * 1_000)
    assert read_mask("a.csv", text.encode()).tensors[""].shape == (1_000, 2_000)


# Pictures


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_light_pixels_are_true(mode: str) -> None:
    array = np.where(CAUSAL.numpy(), 255, 0).astype(np.uint8)
    assert same(read_mask("a.PNG", png(array, mode)).tensors[""], CAUSAL)


def test_grey_levels_are_cut_in_the_middle() -> None:
    array = np.array([[0, 127, 128, 255]], dtype=np.uint8)
    assert read_mask("a.png", png(array)).tensors[""].tolist() == [[False, False, True, True]]
    array = np.array([[0, 0x7FFF, 0x8000, 0xFFFF]], dtype=np.uint16)
    assert read_mask("a.png", png(array)).tensors[""].tolist() == [[False, False, True, True]]


def test_where_a_picture_is_transparent_the_paper_shows() -> None:
    array = np.array([[[0, 0, 0, 255], [0, 0, 0, 0], [255, 255, 255, 255]]], dtype=np.uint8)
    assert read_mask("a.png", png(array)).tensors[""].tolist() == [[False, True, True]]
    indexed = png(np.array([[0, 1]], dtype=np.uint8), "P", transparency=1)
    assert read_mask("a.png", indexed).tensors[""].tolist() == [[False, True]]


def _png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Write a PNG by hand, which may lie about its size."""
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    written = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in (head, *chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + written


def test_the_png_builder_is_right() -> None:
    data = _png_of(2, 1, (b"IDAT", zlib.compress(b"\0\0\xff")))
    assert read_mask("a.png", data).tensors[""].tolist() == [[False, True]]


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda _: pytest.fail("the picture was unpacked"))
    data = _png_of(100_000, 100_000, (b"IDAT", zlib.compress(bytes(100))))
    assert refusal("a.png", data) == (
        "a.png has 100,000 x 100,000 pixels, 10,000,000,000 in all; a mask has at most 16,777,216."
    )
    twice = struct.pack(">IIBBBBB", 90_000, 90_000, 8, 0, 0, 0, 0)
    assert refusal("a.png", _png_of(2, 1, (b"IHDR", twice), (b"IDAT", zlib.compress(bytes(100))))).startswith(
        "a.png has 90,000 x 90,000 pixels"
    )


@pytest.mark.parametrize("data", [b"GIF89a" + bytes(40), b"\x89PNG\r\n\x1a\n", _png_of(2, 1), _png_of(0, 0)])
def test_what_is_no_png_is_damaged(data: bytes) -> None:
    assert refusal("a.png", data) == "a.png is damaged, or is not a .png file: save it again."


def test_a_picture_of_another_format_is_not_read_under_the_name_of_a_png() -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(stream, format="BMP")
    assert refusal("a.png", stream.getvalue()) == "a.png is damaged, or is not a .png file: save it again."


def test_a_text_in_a_picture_that_unpacks_to_much_is_refused() -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    data = _png_of(2, 1, (b"zTXt", bomb), (b"IDAT", zlib.compress(b"\0\0\xff")))
    assert refusal("a.png", data) == "a.png is damaged, or is not a .png file: save it again."


# What is refused

REFUSED: dict[str, tuple[str, bytes, str]] = {
    "suffix": ("a.txt", b"1", "a.txt must end with one of .npy, .npz, .pt, .pth, .safetensors, .csv, .png."),
    "nothing": ("a.npy", b"", "a.npy is empty: it must hold at least one tensor."),
    "text": ("a.npy", npy(np.array([["a"]])), "a.npy must hold numbers of a float, int or bool type, not str32."),
    "complex": (
        "a.npy",
        npy(np.ones((2, 2), complex)),
        "a.npy must hold numbers of a float, int or bool type, not complex128.",
    ),
    "scalar": ("a.npy", npy(np.array(1.0)), "a.npy must be a mask of 1 to 4 dimensions and not empty, not []."),
    "no keys": ("a.npy", npy(np.ones((2, 0))), "a.npy must be a mask of 1 to 4 dimensions and not empty, not [2, 0]."),
    "five dimensions": (
        "a.npy",
        npy(np.ones((1, 1, 1, 1, 1))),
        "a.npy must be a mask of 1 to 4 dimensions and not empty, not [1, 1, 1, 1, 1].",
    ),
    "long double": (
        "a.npy",
        npy(np.ones((2, 2), np.longdouble)),
        f"a.npy holds {np.dtype(np.longdouble).name} numbers, which torch does not have.",
    ),
    "uneven": ("a.csv", b"1,0\n1", "a.csv: row 2 has length 1 where row 1 has length 2."),
    "word": (
        "a.csv",
        b"1,0\n1,yes",
        "a.csv: row 2, column 2 is 'yes', which is not a value: write True, False, a number, inf, -inf or nan.",
    ),
    "gap": ("a.csv", b"1,0,1\n1,,1", "a.csv: row 2, column 2 is empty: write True, False, a number, inf, -inf or nan."),
    "only a header": (
        "a.csv",
        b"a,b\n",
        "a.csv: the table has no row of values: write one row a line, such as 0, 1, 1.",
    ),
    "large whole number": (
        "a.csv",
        b"1,9223372036854775808",
        "a.csv: row 1, column 2 is 9223372036854775808; whole numbers are from -2**63 to 2**63 - 1.",
    ),
    "large number": ("a.csv", b"1,-1e39", "a.csv: row 1, column 2 is -1e+39; float32 numbers end at about 3.4e38."),
    "not UTF-8": ("a.csv", b"\xff\xfe1\x00", "a.csv must be text in UTF-8: save it as CSV UTF-8."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_mask_is_refused_with_a_reason(case: str) -> None:
    name, data, message = REFUSED[case]
    assert refusal(name, data) == message


@every_named_suffix
def test_masks_without_known_names_are_refused(suffix: str, save: dict[str, Any]) -> None:
    message = refusal(f"a{suffix}", save[suffix]({"k" * 50: CAUSAL, "x": PADDING}))
    assert re.fullmatch(rf"a{suffix} must call its masks attn_mask and key_padding_mask; it has (.*), (.*)\.", message)
    assert {repr("k" * 40), "'x'"} == set(message.removesuffix(".").split("it has ")[1].split(", "))
    assert refusal(f"a{suffix}", save[suffix]({f"x{i}": CAUSAL.clone() for i in range(9)})).endswith(", ....")
    assert refusal(f"a{suffix}", save[suffix]({"mask": CAUSAL, "attn_mask": CAUSAL.clone()})) == (
        f"a{suffix} has both 'attn_mask' and 'mask', which mean the same: save one of them."
    )


@every_tensor_suffix
def test_a_mask_of_too_many_elements_is_refused(suffix: str, save: dict[str, Any]) -> None:
    data = save[suffix]({"m": torch.zeros(4_096, 4_097, dtype=torch.bool)})
    where = f"a{suffix}: tensor 'm'" if suffix != ".npy" else f"a{suffix}"
    assert refusal(f"a{suffix}", data) == f"{where} has 16,781,312 elements; a mask has at most 16,777,216."


def test_the_largest_mask_is_read_beside_its_padding(save: dict[str, Any]) -> None:
    largest = torch.zeros(4_096, 4_096, dtype=torch.bool)
    tensors = read_mask("a.npz", save[".npz"]({"attn_mask": largest, "key_padding_mask": largest[:2]})).tensors
    assert tensors["attn_mask"].shape == (4_096, 4_096)


def test_a_long_table_and_a_long_file_are_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mha_viz.inputs.raw_mask.MAX_ELEMENTS", 100)
    assert refusal("a.csv", b"1\n" + b"0," * 200) == "a.csv: the table has 201 values; at most 100 are read."
    assert refusal("a.csv", b"1\n" + b"0 " * 200) == "a.csv: the table has 201 values; at most 100 are read."
    assert refusal("a.csv", bytes(135_266_305)) == "a.csv has 135,266,305 bytes; at most 135,266,304 are read."


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.folder,)


@pytest.mark.skipif(os.name != "posix", reason="the payload's name differs")
@every_suffix
def test_a_pickle_is_refused_under_every_name_and_does_not_run(suffix: str, tmp_path: Path) -> None:
    payload = Payload(tmp_path / "ran")
    stream, objects = io.BytesIO(), io.BytesIO()
    torch.save({"attn_mask": payload}, stream)
    np.save(objects, np.array([[payload]], dtype=object), allow_pickle=True)
    for data in (pickle.dumps(payload), stream.getvalue(), objects.getvalue()):
        assert refusal(f"a{suffix}", data).startswith(f"a{suffix}")
    assert not (tmp_path / "ran").exists()


# Random damage


def read_or_refused(suffix: str, data: bytes) -> None:
    try:
        raw = read_mask(f"a{suffix}", data)
    except InputError as error:
        message = str(error)
    else:
        message = f"a{suffix}"
        assert set(raw.tensors) in ({""}, {"attn_mask"}, {"key_padding_mask"}, {"attn_mask", "key_padding_mask"})
        for tensor in raw.tensors.values():
            assert 1 <= tensor.dim() <= 4
            assert tensor.numel() > 0
            assert tensor.is_contiguous()
    assert message.startswith(f"a{suffix}")
    assert message.isprintable()
    assert len(message) < 400


def damage(data: st.DataObject, content: bytes) -> bytes:
    """Cut a file short, change a bit, or put bytes in."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        match data.draw(st.sampled_from(["cut", "bit", "insert", "delete"])):
            case "cut":
                del changed[place:]
            case "bit" if changed:
                changed[place] ^= 1 << data.draw(st.integers(0, 7))
            case "insert":
                changed[place:place] = data.draw(st.binary(max_size=8))
            case "delete":
                del changed[place : place + data.draw(st.integers(1, 8))]
    return bytes(changed)


@every_suffix
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(suffix: str, save: dict[str, Any], data: st.DataObject) -> None:
    whole = png(np.where(CAUSAL.numpy(), 255, 0).astype(np.uint8)) if suffix == ".png" else save[suffix]({"m": FLOAT})
    read_or_refused(suffix, damage(data, whole))


@every_suffix
@given(data=st.data())
def test_random_bytes_are_read_or_refused(suffix: str, data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([b"", b"PK\3\4", b"\x93NUMPY\x01\x00", b"\x80\x02", b"\x89PNG\r\n\x1a\n"]))
    read_or_refused(suffix, start + data.draw(st.binary(max_size=200)))


@given(text=st.text(st.sampled_from("01,;\t\n -.infaTrue\"'#e+"), max_size=60))
def test_any_table_is_read_or_refused(text: str) -> None:
    read_or_refused(".csv", text.encode())


def test_an_archive_that_lies_about_its_size_is_refused() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("attn_mask.npy", bytes(200_000_000))
    assert refusal("a.npz", stream.getvalue()) == "a.npz unpacks to 200,000,000 bytes; at most 135,266,304 are read."
