"""Files made to do harm: pickles that would run something, sizes that lie, and random damage of every kind."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mha_viz.errors import InputError
from mha_viz.inputs.archive import MAX_MEMBERS
from mha_viz.inputs.torch_file import MAX_INSTRUCTIONS
from mha_viz.inputs.upload import SUFFIXES, read_upload

GRID = torch.arange(12, dtype=torch.float32).reshape(3, 4)
DAMAGED = "a{0} is damaged, or is not a {0} file: save it again."


def refusal(name: str, data: bytes, **limits: int) -> str:
    with pytest.raises(InputError) as caught:
        read_upload(name, data, **limits)
    return str(caught.value)


def saved(thing: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(thing, stream, **options)
    return stream.getvalue()


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def with_pickle(pickled: bytes, numbers: bytes = GRID.numpy().tobytes()) -> bytes:
    return zipped({"a/data.pkl": pickled, "a/version": b"3\n", "a/byteorder": b"little", "a/data/0": numbers})


def never(*_: Any, **__: Any) -> None:
    """Stand for a library that must not be reached."""
    pytest.fail("the file was passed on")


# Pickles that run something


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.folder,)


def _object_npy(payload: Payload) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([[payload]], dtype=object), allow_pickle=True)
    return stream.getvalue()


PICKLED: dict[str, tuple[str, Callable[[Payload], bytes], str]] = {
    "object npy": (".npy", _object_npy, "a.npy is pickled, which is never read: save it as an array of numbers."),
    "bare pickle as npy": (".npy", pickle.dumps, DAMAGED.format(".npy")),
    "object npz": (
        ".npz",
        lambda payload: zipped({"x.npy": _object_npy(payload)}),
        "a.npz: tensor 'x' is pickled, which is never read: save it as an array of numbers.",
    ),
    "bare pickle as npz": (".npz", pickle.dumps, DAMAGED.format(".npz")),
    "pickle in an npz": (".npz", lambda p: zipped({"x.npy": pickle.dumps(p)}), DAMAGED.format(".npz")),
    "pt": (
        ".pt",
        saved,
        "a.pt asks to call 'posix.mkdir', which is never done: only a tensor, or a flat dict of tensors, is read.",
    ),
    "pt beside a tensor": (
        ".pt",
        lambda payload: saved({"x": GRID, "y": payload}),
        "a.pt asks to call 'posix.mkdir', which is never done: only a tensor, or a flat dict of tensors, is read.",
    ),
    "legacy pt": (
        ".pt",
        lambda payload: saved(payload, _use_new_zipfile_serialization=False),
        "a.pt is a bare pickle, as torch before 1.6 wrote, which is never read: save it with a newer torch.save.",
    ),
    "bare pickle as pth": (
        ".pth",
        pickle.dumps,
        "a.pth is a bare pickle, as torch before 1.6 wrote, which is never read: save it with a newer torch.save.",
    ),
    "old pickle as pt": (".pt", lambda payload: pickle.dumps(payload, protocol=0), DAMAGED.format(".pt")),
    "bare pickle as safetensors": (".safetensors", pickle.dumps, DAMAGED.format(".safetensors")),
}


@pytest.mark.skipif(os.name != "posix", reason="the payload's name differs")
@pytest.mark.parametrize("case", PICKLED)
def test_a_pickled_file_is_refused_and_does_not_run(case: str, tmp_path: Path) -> None:
    suffix, build, message = PICKLED[case]
    data = build(Payload(tmp_path / "ran"))
    assert refusal(f"a{suffix}", data) == message
    assert not (tmp_path / "ran").exists()


def test_the_payload_does_run_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


def test_a_torchscript_program_is_refused() -> None:
    data = zipped({"a/data.pkl": b"\x80\x02}.", "a/constants.pkl": b"\x80\x02)."})
    assert refusal("a.pt", data) == "a.pt is a TorchScript program, which is never run: save its tensors alone."


@pytest.mark.parametrize("members", [{}, {"x.npy": b""}, {"a/data.pkl": b".", "b/data.pkl": b"."}, {"data.pkl": b"."}])
def test_another_zip_archive_is_not_a_torch_file(members: dict[str, bytes]) -> None:
    assert refusal("a.pt", zipped(members) if members else b"PK\5\6" + bytes(18)) == (
        "a.pt is a zip archive, but not one that torch.save wrote: it has no data.pkl."
    )


# Sizes that lie, and archives that unpack to much


@pytest.mark.parametrize(("suffix", "member"), [(".npz", "x.npy"), (".pt", "a/data/0")])
def test_a_zip_bomb_is_refused_by_its_declared_size(suffix: str, member: str) -> None:
    data = zipped({member: bytes(20_000_000), "y.npy": b""}, zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000
    assert refusal(f"a{suffix}", data, max_bytes=10_000_000) == (
        f"a{suffix} unpacks to 20,000,000 bytes; at most 10,000,000 are read."
    )


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_a_zip_bomb_that_lies_about_its_size_is_not_unpacked(suffix: str) -> None:
    data = zipped({"x.npy": bytes(200_000_000)}, zipfile.ZIP_DEFLATED)
    data = data.replace(struct.pack("<I", 200_000_000), struct.pack("<I", 1_000))
    tracemalloc.start()
    try:
        assert refusal(f"a{suffix}", data, max_bytes=10_000_000) == DAMAGED.format(suffix)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_odd_archives_are_refused() -> None:
    many = zipped({f"{i}.txt": b"" for i in range(MAX_MEMBERS + 1)})
    assert refusal("a.npz", many) == "a.npz holds 1,001 members; at most 1,000 are read."
    twice = zipped({"x.npy": b"", "y.npy": b""}).replace(b"y.npy", b"x.npy")
    assert refusal("a.npz", twice) == "a.npz holds two members of one name: save it again."
    encrypted = bytearray(zipped({"x.npy": b"1"}))
    encrypted[encrypted.index(b"PK\1\2") + 8] |= 1
    assert refusal("a.npz", bytes(encrypted)) == "a.npz is encrypted: save it without a password."
    packed = zipped({"x.npy": b"1" * 100}, zipfile.ZIP_LZMA)
    assert refusal("a.npz", packed) == "a.npz is packed by another method than store or deflate: save it again."
    longer = zipped({"x.npy": b"1" * 100}, zipfile.ZIP_DEFLATED).replace(struct.pack("<I", 100), struct.pack("<I", 101))
    assert (
        refusal("a.npz", longer) == "a.npz holds a member that does not unpack to the size it declares: save it again."
    )


def _npy_of(header: str, numbers: bytes = b"") -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + numbers


@pytest.mark.parametrize(
    "shape", ["(1000000, 1000000)", "(9" + "9" * 30 + ", 1)", "(3, 5)", "(3, 3)", "(-3, -4)", "(3L, 4L)", "(3, (4,))"]
)
def test_a_npy_header_that_lies_about_its_shape_is_damaged(shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n"
    assert refusal("a.npy", _npy_of(header, GRID.numpy().tobytes())) == DAMAGED.format(".npy")


@pytest.mark.parametrize(
    "header",
    [
        "__import__('os').mkdir('x')",
        "{'descr': 'f4,f4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '\\x41', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': 'a4', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'descr': '<f3', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f4'" + " " * 9_000 + "!",
        "(" * 9_000,
        "{" + "'a': True" * 900,
    ],
)
def test_a_strange_npy_header_is_damaged_at_once(header: str) -> None:
    start = time.perf_counter()
    assert refusal("a.npy", _npy_of(header, bytes(4))) == DAMAGED.format(".npy")
    assert time.perf_counter() - start < 1


def _safetensors_of(header: Any, numbers: bytes = GRID.numpy().tobytes()) -> bytes:
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def _entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48], **changes}}


def test_the_safetensors_builder_is_right() -> None:
    assert torch.equal(read_upload("a.safetensors", _safetensors_of(_entry())).tensors["x"], GRID)


@pytest.mark.parametrize(
    "header",
    [
        _entry(shape=[3, 5]),
        _entry(data_offsets=[0, 52]),
        _entry(data_offsets=[4, 52]),
        _entry(data_offsets=[-48, 0]),
        _entry(data_offsets=[0.0, 48.0]),
        _entry(shape=[3.0, 4.0]),
        _entry(shape=[True, 12]),
        _entry(shape=[-3, -4]),
        _entry(shape="34"),
        _entry(dtype=["F32"]),
        _entry(dtype="F32\n"),
        {"x": None},
        [],
        "[" * 100_000,
        "{" + '"x":' * 10,
        '{"x": ' + "9" * 10_000 + "}",
    ],
)
def test_a_safetensors_header_that_lies_is_damaged(header: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetensors.torch.load", never)
    assert refusal("a.safetensors", _safetensors_of(header)) == DAMAGED.format(".safetensors")


@pytest.mark.parametrize("size", [2**63, 2**64 - 1, 49, 2**20 + 1])
def test_a_safetensors_header_longer_than_the_file_is_damaged(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetensors.torch.load", never)
    data = struct.pack("<Q", size) + _safetensors_of(_entry())[8:56]
    assert refusal("a.safetensors", data) == DAMAGED.format(".safetensors")


def _tensor_pickle(**changes: Any) -> bytes:
    """Write the pickle of {"x": tensor} by hand, with the sizes one likes."""
    about = {"key": "0", "count": 12, "offset": 0, "shape": (3, 4), "stride": (4, 1), **changes}

    def number(value: int) -> bytes:
        digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(digits)]) + digits

    def text(value: str) -> bytes:
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(about["key"]) + text("cpu")
    storage += number(about["count"]) + b"tQ"
    rest = number(about["offset"]) + numbers(about["shape"]) + numbers(about["stride"])
    end = b"\x89ccollections\nOrderedDict\n)RtR"
    return b"\x80\x02}" + text("x") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + end + b"s."


def test_the_pickle_builder_is_right() -> None:
    data = with_pickle(_tensor_pickle())
    assert torch.equal(read_upload("a.pt", data).tensors["x"], GRID)
    assert torch.equal(torch.load(io.BytesIO(data), weights_only=True)["x"], GRID)
    assert torch.equal(
        read_upload("a.pt", with_pickle(_tensor_pickle(shape=(4, 3), stride=(1, 4)))).tensors["x"], GRID.T
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"count": 13},
        {"count": 11},
        {"count": 2**40},
        {"count": -12},
        {"offset": 1},
        {"offset": -1},
        {"shape": (3, 5)},
        {"stride": (5, 1)},
        {"stride": (4, -1)},
        {"stride": (4,)},
        {"stride": (2**62, 1)},
        {"key": "1"},
        {"key": "../0"},
        {"key": ""},
    ],
)
def test_a_tensor_that_reaches_outside_its_numbers_is_damaged(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.load", never)
    assert refusal("a.pt", with_pickle(_tensor_pickle(**changes))) == DAMAGED.format(".pt")


def test_numbers_under_a_name_that_torch_does_not_give_are_damaged() -> None:
    members = {"a/data.pkl": _tensor_pickle(key="../0"), "a/version": b"3\n", "a/data/../0": GRID.numpy().tobytes()}
    assert refusal("a.pt", zipped(members)) == DAMAGED.format(".pt")


def test_a_tensor_that_repeats_one_number_very_often_is_refused_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.load", never)
    data = with_pickle(_tensor_pickle(shape=(10**6, 10**6), stride=(0, 0)))
    assert refusal("a.pt", data) == "a.pt holds 1,000,000,000,000 numbers; at most 16,777,216 are read."


@pytest.mark.parametrize(
    "body",
    [
        b"N" + b"\x85" * 90_000,  # tuples in tuples, deep
        b")" + b"q\x01h\x01\x86" * 15_000,  # tuples of one tuple twice, 2^15000 leaves
        b"(" * 90_000,
        b"N" * 45_000 + b"(t" * 20_000,
        b"}" + b"q\x01X\x01\x00\x00\x00ah\x01s" * 10_000,  # a dict that holds itself
    ],
)
def test_pickles_that_grow_on_the_stack_are_refused_at_once(body: bytes) -> None:
    start = time.perf_counter()
    refusal("a.pt", with_pickle(b"\x80\x02" + body + b"."))
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"N" * (MAX_INSTRUCTIONS + 1), "has a table of contents of more than 100,000 instructions"),
        (
            b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R",
            "asks to call 'builtins.bytearray', which is never done",
        ),
        (b"ctorch\nUntypedStorage\nK\x05\x85R", "asks to call 'torch.UntypedStorage', which is never done"),
        (b"ccollections\nOrderedDict\nK\x05\x85R", "holds a tensor in an unknown form"),
        (b"ctorch\nFloatStorage\n)R", "holds a tensor in an unknown form"),
        (b"K\x05Q", "holds numbers in an unknown form"),
        (b"NX\x01\x00\x00\x00aNs", "holds something other than tensors"),
        (b"}}X\x01\x00\x00\x00aNsb", "holds an object with attributes"),
        (b"\x8c\x05posix\x8c\x05mkdir\x93", "holds something other than tensors"),
        (b"cos\x1b[31m\nsystem\n", "asks to call 'os\\x1b[31m.system', which is never done"),
    ],
)
def test_an_unexpected_instruction_is_refused(body: bytes, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.load", never)
    message = refusal("a.pt", with_pickle(b"\x80\x02" + body + b"."))
    assert message == f"a.pt {what}: only a tensor, or a flat dict of tensors, is read."


# Random damage


def read_or_refused(suffix: str, data: bytes) -> None:
    try:
        upload = read_upload(f"a{suffix}", data, max_bytes=1_000_000, max_elements=10_000)
    except InputError as error:
        message = str(error)
    else:
        message = f"a{suffix}"
        assert upload.tensors
        for tensor in upload.tensors.values():
            assert tensor.dtype == torch.float32
            assert tensor.dim() in (2, 3)
            assert 0 < tensor.numel() <= 10_000
            assert len(tensor.numpy().tobytes()) == 4 * tensor.numel()  # every number is really there
    assert message.startswith(f"a{suffix}")
    assert message.isprintable()
    assert len(message) < 400


every_suffix = pytest.mark.parametrize("suffix", SUFFIXES)


@every_suffix
@given(data=st.data())
def test_random_bytes_are_read_or_refused(suffix: str, data: st.DataObject) -> None:
    start = data.draw(
        st.sampled_from([b"", b"PK\3\4", b"PK\5\6", b"\x93NUMPY\x01\x00", b"\x80\x02", b"\x10" + bytes(7) + b"{"])
    )
    read_or_refused(suffix, start + data.draw(st.binary(max_size=200)))


def damage(data: st.DataObject, content: bytes) -> bytes:
    """Cut a file short, change some bytes or bits, or put bytes in."""
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, max(len(changed) - 1, 0)))
        match data.draw(st.sampled_from(["cut", "bit", "byte", "insert", "delete", "copy"])):
            case "cut":
                del changed[place:]
            case "bit" if changed:
                changed[place] ^= 1 << data.draw(st.integers(0, 7))
            case "byte" if changed:
                changed[place] = data.draw(st.integers(0, 255))
            case "insert":
                changed[place:place] = data.draw(st.binary(max_size=8))
            case "delete":
                del changed[place : place + data.draw(st.integers(1, 8))]
            case "copy":
                changed[place:place] = changed[place : place + 30]
    return bytes(changed)


@every_suffix
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(suffix: str, save: dict[str, Any], data: st.DataObject) -> None:
    read_or_refused(suffix, damage(data, save[suffix]({"query": GRID})))


@given(data=st.data())
def test_a_torch_file_with_a_damaged_pickle_in_a_sound_archive_is_read_or_refused(data: st.DataObject) -> None:
    members = members_of(saved({"x": GRID, "y": GRID.double(), "z": torch.nn.Parameter(GRID[1:])}))
    members["archive/data.pkl"] = damage(data, members["archive/data.pkl"])
    read_or_refused(".pt", zipped(members))


@given(data=st.data())
def test_an_archive_of_a_damaged_array_is_read_or_refused(save: dict[str, Any], data: st.DataObject) -> None:
    read_or_refused(".npz", zipped({"x.npy": damage(data, save[".npy"]({"x": GRID}))}))
