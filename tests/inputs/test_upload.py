from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mha_viz.errors import InputError
from mha_viz.inputs.archive import read_archive
from mha_viz.inputs.torch_file import describe, parts
from mha_viz.inputs.upload import SUFFIXES, Upload, pick, read_upload

every_suffix = pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".safetensors", ".pt", ".pth"])
named_suffix = pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
GRID = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4) / 7 - 1


def saved(thing: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(thing, stream, **options)
    return stream.getvalue()


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    return stream.getvalue()


def refusal(name: str, data: bytes, **limits: int) -> str:
    with pytest.raises(InputError) as caught:
        read_upload(name, data, **limits)
    return str(caught.value)


def test_the_known_suffixes() -> None:
    assert SUFFIXES == (".npy", ".npz", ".csv", ".safetensors", ".pt", ".pth")


@every_suffix
def test_a_tensor_is_read_as_it_was_saved(suffix: str, save: dict[str, Any]) -> None:
    data = save[suffix]({"query": GRID[0]})
    upload = read_upload(f"a{suffix.upper()}", data)
    assert torch.equal(pick(upload, "query"), GRID[0])
    assert upload.digest == hashlib.sha256(data).hexdigest()
    assert upload.name == f"a{suffix.upper()}"
    assert list(upload.dtypes) == list(upload.tensors)


@named_suffix
def test_several_tensors_keep_their_names_and_formats(suffix: str, save: dict[str, Any]) -> None:
    upload = read_upload(f"a{suffix}", save[suffix]({"query": GRID, "key": GRID[0].double(), "v 3": GRID.int()}))
    assert upload.dtypes == {"query": "float32", "key": "float64", "v 3": "int32"}
    assert torch.equal(upload.tensors["query"], GRID)
    assert torch.equal(upload.tensors["key"], GRID[0])
    assert torch.equal(upload.tensors["v 3"], GRID.int().float())


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_every_real_number_format_becomes_float32(suffix: str, dtype: str, save: dict[str, Any]) -> None:
    tensor = (GRID[0] * 3).to(getattr(torch, dtype))
    upload = read_upload(f"a{suffix}", save[suffix]({"x": tensor}))
    (read,) = upload.tensors.values()
    assert read.dtype == torch.float32
    assert read.is_contiguous()
    assert read.tolist() == [[float(value) for value in row] for row in tensor.tolist()]
    assert set(upload.dtypes.values()) == {dtype}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_bfloat16_is_read(suffix: str, save: dict[str, Any]) -> None:
    upload = read_upload(f"a{suffix}", save[suffix]({"x": GRID.bfloat16()}))
    assert torch.equal(upload.tensors["x"], GRID.bfloat16().float())
    assert upload.dtypes == {"x": "bfloat16"}


def test_other_byte_orders_and_layouts_of_numpy_are_read() -> None:
    array = GRID[0].numpy().astype(">f8")
    upload = read_upload("a.npy", npy(array))
    assert torch.equal(upload.tensors[""], GRID[0])
    assert upload.dtypes == {"": "float64"}
    assert torch.equal(read_upload("a.npy", npy(np.asfortranarray(GRID[0].numpy()))).tensors[""], GRID[0])
    assert torch.equal(read_upload("a.npy", npy(GRID[0].numpy(), (2, 0))).tensors[""], GRID[0])


def test_headers_as_other_programs_write_them_are_read() -> None:
    header = b'{"shape":(1,2),"fortran_order":False,"descr":"<f4"}'
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + np.float32([3, 4]).tobytes()
    assert read_upload("a.npy", data).tensors[""].tolist() == [[3.0, 4.0]]


def test_nan_and_infinity_are_kept(save: dict[str, Any]) -> None:
    tensor = torch.tensor([[float("nan"), float("inf"), -float("inf"), -0.0]])
    for suffix in SUFFIXES:
        (read,) = read_upload(f"a{suffix}", save[suffix]({"x": tensor})).tensors.values()
        assert read.numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize(
    "thing", [GRID, torch.nn.Parameter(GRID), GRID.transpose(1, 2), GRID[:, 1:], GRID.expand(2, 3, 4)]
)
def test_a_tensor_of_its_own_has_no_name(thing: torch.Tensor) -> None:
    upload = read_upload("a.pt", saved(thing))
    assert torch.equal(upload.tensors[""], thing.detach())
    assert not upload.tensors[""].requires_grad


def test_tensors_that_share_numbers_and_a_state_dict_are_read() -> None:
    upload = read_upload("a.pt", saved({"query": GRID, "key": GRID, "value": GRID[:, :2]}))
    assert torch.equal(upload.tensors["key"], GRID)
    assert torch.equal(upload.tensors["value"], GRID[:, :2])
    assert upload.tensors["key"].data_ptr() != upload.tensors["query"].data_ptr()
    layer = torch.nn.Linear(4, 3, bias=False)
    assert torch.equal(read_upload("a.pt", saved(layer.state_dict())).tensors["weight"], layer.weight.detach())


@given(st.lists(st.integers(1, 4), min_size=2, max_size=3), st.permutations([0, 1, 2]), st.integers(0, 2))
def test_the_description_of_a_torch_file_is_what_torch_loads(shape: list[int], order: list[int], cut: int) -> None:
    tensor = torch.randn([*shape[:2], shape[-1] + cut]).permute(order)[..., : shape[-1]]
    data = saved({"x": tensor})
    described = describe(parts(read_archive(data, name="a", max_bytes=10_000), name="a")["data.pkl"], name="a")["x"]
    loaded = torch.load(io.BytesIO(data), weights_only=True)["x"]
    assert described.shape == loaded.shape
    assert described.stride == loaded.stride()
    assert described.offset == loaded.storage_offset()
    assert described.count * described.dtype.itemsize == loaded.untyped_storage().nbytes()
    assert described.fits


def test_labels_of_a_table_are_kept() -> None:
    upload = read_upload("a.csv", "\ufefftoken,x,y\nthe,1,2\n猫,3,4\n".encode())
    assert upload.labels == ("the", "猫")
    assert upload.tensors[""].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_name_is_cut_to_what_can_be_shown() -> None:
    assert read_upload("../../etc/a\nb\x1b.csv", b"1,2").name == "a?b?.csv"
    assert read_upload("C:\\x\\" + "y" * 300 + ".csv", b"1,2").name == "y" * 96 + ".csv"


def an_upload(**tensors: torch.Tensor) -> Upload:
    return Upload("a.npz", "", dict(tensors), dict.fromkeys(tensors, "float32"))


def test_pick_takes_the_name_or_the_only_tensor() -> None:
    one, two = GRID[0], GRID[1]
    assert pick(an_upload(query=one, key=two), "key") is two
    assert pick(an_upload(other=one), "query") is one


def test_pick_lists_the_names_when_none_fits() -> None:
    with pytest.raises(InputError, match=r"^a\.npz has no tensor 'query'; it has 'a', 'b'\.$"):
        pick(an_upload(a=GRID, b=GRID), "query")
    many = an_upload(**{f"t{i}": GRID for i in range(10)})
    with pytest.raises(InputError, match=r"; it has 't0', 't1', 't2', 't3', 't4', 't5', 't6', 't7', \.\.\.\.$"):
        pick(many, "query")


@pytest.mark.parametrize("name", ["a.txt", "a", ".npy.gz", "npy"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(name: str) -> None:
    assert refusal(name, b"1") == f"{name} must end with one of .npy, .npz, .csv, .safetensors, .pt, .pth."


@every_suffix
def test_an_empty_file_is_refused(suffix: str) -> None:
    assert refusal(f"a{suffix}", b"") == f"a{suffix} is empty: it must hold at least one tensor."


@every_suffix
def test_a_file_of_too_many_bytes_is_refused_unread(suffix: str) -> None:
    assert (
        refusal(f"a{suffix}", b"\0" * 2_000, max_bytes=1_999) == f"a{suffix} has 2,000 bytes; at most 1,999 are read."
    )


@every_suffix
def test_a_tensor_of_too_many_numbers_is_refused(suffix: str, save: dict[str, Any]) -> None:
    message = refusal(f"a{suffix}", save[suffix]({"x": GRID[0]}), max_elements=11)
    expected = "table has 3 rows of 4 numbers, 12 in all; at most 11 are read." if suffix == ".csv" else ""
    assert message == (f"a.csv: {expected}" if expected else f"a{suffix} holds 12 numbers; at most 11 are read.")
    read_upload(f"a{suffix}", save[suffix]({"x": GRID[0]}), max_elements=12)


@named_suffix
def test_numbers_of_all_tensors_count_together(suffix: str, save: dict[str, Any]) -> None:
    data = save[suffix]({"x": GRID, "y": GRID.clone()})
    assert refusal(f"a{suffix}", data, max_elements=47) == f"a{suffix} holds 48 numbers; at most 47 are read."


@named_suffix
def test_a_file_of_too_many_tensors_is_refused(suffix: str, save: dict[str, Any]) -> None:
    data = save[suffix]({f"t{i}": GRID[0].clone() for i in range(257)})
    assert refusal(f"a{suffix}", data) == f"a{suffix} holds 257 tensors; at most 256 are read."


@named_suffix
def test_a_file_without_tensors_is_refused(suffix: str, save: dict[str, Any]) -> None:
    assert refusal(f"a{suffix}", save[suffix]({})) == f"a{suffix} holds no tensors: it must hold at least one."


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3, 4), (0, 3), (2, 0, 1)])
def test_other_dimensions_than_2_or_3_are_refused(suffix: str, shape: tuple[int, ...], save: dict[str, Any]) -> None:
    subject = "a.npy" if suffix == ".npy" else f"a{suffix}: tensor 'x'"
    assert refusal(f"a{suffix}", save[suffix]({"x": torch.zeros(shape)})) == (
        f"{subject} must be [L, E] or [N, L, E] and not empty, not {list(shape)}."
    )


def test_a_shape_of_very_many_dimensions_is_counted() -> None:
    assert refusal("a.pt", saved(torch.zeros([1] * 20))).endswith("not 20 dimensions.")


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.zeros((2, 2), complex), "complex128"),
        (np.array([["ab"]]), "str64"),
        (np.array([[b"ab"]]), "bytes16"),
        (np.zeros((2, 2), "M8[s]"), "datetime64[s]"),
        (np.zeros((2, 2), [("x", "f4")]), "a structure of columns"),
        (np.zeros((2, 2), "V3"), "void24"),
    ],
)
def test_arrays_of_other_things_than_numbers_are_refused(array: np.ndarray, kind: str) -> None:
    assert refusal("a.npy", npy(array)) == f"a.npy must hold numbers of a float, int or bool type, not {kind}."


@pytest.mark.parametrize(("suffix", "kind"), [(".npz", "complex64"), (".safetensors", "C64"), (".pt", "complex64")])
def test_complex_tensors_are_refused(suffix: str, kind: str, save: dict[str, Any]) -> None:
    assert refusal(f"a{suffix}", save[suffix]({"x": GRID.to(torch.complex64)})) == (
        f"a{suffix}: tensor 'x' must hold numbers of a float, int or bool type, not {kind}."
    )


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt"])
def test_numbers_that_float32_cannot_hold_are_refused(suffix: str, save: dict[str, Any]) -> None:
    subject = "a.npy" if suffix == ".npy" else f"a{suffix}: tensor 'x'"
    data = save[suffix]({"x": torch.full((2, 2), -1e300, dtype=torch.float64)})
    assert refusal(f"a{suffix}", data) == f"{subject} holds a number beyond 3.4e38, the end of float32."


ONLY = "only a tensor, or a flat dict of tensors, is read."


@pytest.mark.parametrize(
    ("thing", "what"),
    [
        ([GRID, GRID], "holds something other than tensors"),
        ((GRID, GRID), "holds a tuple"),
        ("text", "holds a text"),
        (None, "holds None"),
        (3, "holds a value"),
        ({"x": {"y": GRID}}, "holds a dict named 'x'"),
        ({"x": GRID, "epoch": 3}, "holds a value named 'epoch'"),
        ({3: GRID}, "holds a dict whose keys are not texts"),
        (GRID.to_sparse(), "asks to call 'torch._utils._rebuild_sparse_tensor', which is never done"),
        (torch.nn.ReLU(), "asks to call 'torch.nn.modules.activation.ReLU', which is never done"),
    ],
)
def test_a_torch_file_of_anything_else_is_refused(thing: Any, what: str) -> None:
    assert refusal("a.pt", saved(thing)) == f"a.pt {what}: {ONLY}"


def test_other_pickle_protocols_are_refused() -> None:
    message = refusal("a.pt", saved(GRID, pickle_protocol=4))
    assert message == f"a.pt is written in pickle protocol 4, where torch.save writes 2: {ONLY}"


def test_the_old_torch_format_is_refused() -> None:
    assert refusal("a.pt", saved(GRID, _use_new_zipfile_serialization=False)) == (
        "a.pt is a bare pickle, as torch before 1.6 wrote, which is never read: save it with a newer torch.save."
    )


def test_a_table_that_is_not_utf_8_or_not_a_table_is_refused() -> None:
    assert refusal("a.csv", b"\xff\xfe1\0,\0") == "a.csv must be text in UTF-8: save it as CSV UTF-8."
    assert refusal("a.csv", b"1,2\n3") == "a.csv: row 2 has 1 number where row 1 has 2."


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt", ".pth"])
@pytest.mark.parametrize("kept", [1, 7, 9, 40, 0.5, -1])
def test_a_truncated_file_is_damaged(suffix: str, kept: float, save: dict[str, Any]) -> None:
    data = save[suffix]({"x": GRID})
    cut = data[: int(kept) if isinstance(kept, int) else int(len(data) * kept)]
    assert refusal(f"a{suffix}", cut) == f"a{suffix} is damaged, or is not a {suffix} file: save it again."


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors", ".pt", ".pth"])
def test_a_file_of_another_format_is_damaged(suffix: str) -> None:
    assert refusal(f"a{suffix}", b"<html>not found</html>") == (
        f"a{suffix} is damaged, or is not a {suffix} file: save it again."
    )


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_numbers_that_were_changed_are_damaged(suffix: str, save: dict[str, Any]) -> None:
    data = bytearray(save[suffix]({"x": torch.randn(40, 40)}))
    data[len(data) // 2] ^= 1
    assert refusal(f"a{suffix}", bytes(data)) == f"a{suffix} is damaged, or is not a {suffix} file: save it again."
