"""Run files: everything comes back bit for bit, and whatever is not a run file is refused in one sentence."""

from __future__ import annotations

import functools
import json
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import mha_viz as mv
from mha_viz.attention.records import Call, LayerAttention, Passed
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.export import run_file
from mha_viz.export.run_file import layout, reading
from mha_viz.inputs.assemble import Inputs
from mha_viz.scenario import Scenario

SENTENCE = "two words\nand three more"


def captured(dtype: torch.dtype = torch.float32, **changes: Any) -> Run:
    """A run as a capture of somebody's model gives it, with every field filled."""
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.MultiheadAttention(8, 2, dropout=0.25, add_bias_kv=True, batch_first=True, dtype=dtype).train()
        crossing = nn.MultiheadAttention(8, 4, bias=False, kdim=6, vdim=5, add_zero_attn=True, dtype=dtype).eval()
    query, memory = numbers(2, 3, 8), numbers(2, 4, 6)
    weights = numbers(2, 2, 3, 4)
    weights[0, 0, 0, 0], weights[1, 1, 2, 1], weights[0, 1, 0, 0] = torch.nan, -torch.inf, -0.0
    mask = torch.triu(torch.ones(3, 3, dtype=torch.bool), 1)
    first = LayerAttention(
        name="layers.0.self_attn",
        weights=weights,
        output=numbers(2, 3, 8),
        returned=weights,
        output_change=float("nan"),
        attn_mask=mask,
        key_padding_mask=torch.tensor([[False] * 3, [False, True, True]]),
        extra_keys=("bias_k",),
        dropout=0.25,
        passed=Passed("sdpa", ~mask, torch.tensor([[0, 0, 0], [0, 1, 1]], dtype=torch.uint8), is_causal=True),
        query_tokens=(("the", "c\u00e4t", "\ud800"), ("", "<b>", "日本")),
        key_tokens=(("the", "c\u00e4t", "\ud800"), ("", "<b>", "日本")),
        call=Call(module, query, query, query),
    )
    second = LayerAttention(
        name="layers.0.cross",
        weights=numbers(2, 4, 3, 5),
        output=None,
        returned=None,
        output_change=0.0,
        attn_mask=numbers(8, 3, 4),
        key_padding_mask=None,
        extra_keys=("zero",),
        how="function",
        query_tokens=first.query_tokens,
        key_tokens=(("a", "b", "c", "d"),) * 2,
        items=(5, 1),
        call=Call(crossing, query, memory, numbers(2, 4, 5)),
    )
    third = replace(first, name="again", weights=numbers(2, 1, 3, 4), heads=(1,), returned=weights, how="softmax")
    norms = (("embedding", numbers(2, 3)), ("layers.0", numbers(2, 3)))
    about = {"device": "cuda:0", "dtype": str(dtype)[6:], "seconds": 0.125, "peak_bytes": 2**40, "name": "my model"}
    run = Run((first, second, third), None, None, **about, norms=norms, notes=("one call was left out",))
    return replace(run, **changes)


RUNS: dict[str, Callable[[], Run]] = {
    "a scenario": lambda: mv.run(Scenario()),
    "padding, and the average asked for": lambda: mv.run(Scenario(text=SENTENCE, average_attn_weights=True)),
    "NaN": lambda: mv.run(Scenario(source="normal", query_len=4, mask="k < q")),
    "cross-attention": lambda: mv.run(Scenario(key_text="x y", kdim=8, vdim=4, add_bias_kv=True, add_zero_attn=True)),
    "unbatched": lambda: mv.run(Scenario(source="normal", unbatched=True, batch_first=False)),
    "a mask for each head": lambda: mv.run(Scenario(text=SENTENCE, mask="causal & (h < 2)", score_bias="alibi")),
    "no weights asked for": lambda: mv.run(Scenario(need_weights=False)),
    "dropout in bfloat16": lambda: mv.run(Scenario(training=True, dropout=0.5, dtype="bfloat16")),
    "double precision": lambda: mv.run(Scenario(dtype="float64", mask_encoding="float")),
    "a capture": captured,
    "a capture in half precision": functools.partial(captured, torch.float16),
    "a capture in double precision": functools.partial(captured, torch.float64),
    "nothing but weights": lambda: Run(
        (LayerAttention("", torch.ones(1, 1, 1, 1), None, None, float("inf"), None, None),), None, None, "", "", None
    ),
}
every_run = pytest.mark.parametrize("make", RUNS.values(), ids=RUNS)


def differences(one: Any, other: Any, at: str = "run") -> Iterator[str]:
    """Yield the places at which two values differ, tensors compared as bits."""
    if type(one) is not type(other):
        yield f"{at}: {type(one)} and {type(other)}"
    elif isinstance(one, Tensor):
        if one.dtype != other.dtype or one.shape != other.shape or bits(one) != bits(other):
            yield at
    elif isinstance(one, nn.Module):
        told = ("embed_dim", "num_heads", "kdim", "vdim", "dropout", "batch_first", "add_zero_attn", "training")
        yield from (f"{at}.{name}" for name in told if getattr(one, name) != getattr(other, name))
        yield from differences(dict(one.named_parameters()), dict(other.named_parameters()), at)
    elif is_dataclass(one) and not isinstance(one, Scenario):
        for field in fields(one):
            yield from differences(getattr(one, field.name), getattr(other, field.name), f"{at}.{field.name}")
    elif isinstance(one, tuple | dict):
        pairs = (one, other) if isinstance(one, dict) else (dict(enumerate(one)), dict(enumerate(other)))
        if pairs[0].keys() != pairs[1].keys():
            yield f"{at}: {list(pairs[0])} and {list(pairs[1])}"
        else:
            for name in pairs[0]:
                yield from differences(pairs[0][name], pairs[1][name], f"{at}.{name}")
    elif repr(one) != repr(other):  # NaN is not equal to itself
        yield f"{at}: {one!r} and {other!r}"


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()


def refusal(data: bytes, name: str = "a.safetensors") -> str:
    with pytest.raises(InputError) as caught:
        run_file.from_bytes(data, name)
    return str(caught.value)


# There and back


@every_run
def test_every_field_comes_back_bit_for_bit(make: Callable[[], Run], tmp_path: Path) -> None:
    run = make()
    assert list(differences(run, run_file.from_bytes(run_file.to_bytes(run)))) == []
    run_file.save(run, tmp_path / "run.safetensors")
    assert list(differences(run, run_file.load(tmp_path / "run.safetensors"))) == []
    assert [file.name for file in tmp_path.iterdir()] == ["run.safetensors"]


@pytest.mark.parametrize("changed", ["weights", "name", "seconds", "heads", "dropout"])
def test_the_comparison_sees_a_difference(changed: str) -> None:
    run, other = captured(), captured(seconds=1.0) if changed == "seconds" else captured()
    value = {"weights": -run.layers[0].weights, "name": "", "heads": (0, 1), "dropout": 0.0}
    if changed != "seconds":
        other = replace(other, layers=(replace(other.layers[0], **{changed: value[changed]}), *other.layers[1:]))
    assert [place.split(":")[0].split(".")[-1] for place in differences(run, other)] == [changed]


def test_no_field_of_a_record_is_forgotten() -> None:
    assert set(reading.RUN) - {"tokens"} == {field.name for field in fields(Run)}
    assert set(reading.LAYER) | {"streamed"} == {field.name for field in fields(LayerAttention)}  # which is refused
    assert set(reading.INPUTS) == {field.name for field in fields(Inputs)}
    assert set(reading.PASSED) == {field.name for field in fields(Passed)}


def test_a_file_that_was_read_is_written_the_same() -> None:
    data = run_file.to_bytes(captured())
    again = run_file.to_bytes(run_file.from_bytes(data))
    assert header_of(again) == header_of(data)
    assert len(again) == len(data)
    assert again.endswith(data[-1000:])


def header_of(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return found


def test_what_was_one_object_is_one_again_and_is_kept_once() -> None:
    run = captured()
    data = run_file.to_bytes(run)
    first, _, third = run_file.from_bytes(data).layers
    assert first.call is not None
    assert third.call is not None
    assert first.call.module is third.call.module
    assert first.call.query is first.call.key is first.call.value is third.call.query
    assert first.returned is first.weights is third.returned
    assert first.attn_mask is third.attn_mask
    names = safetensors.torch.load(data)
    assert not {"layers.0.call.key", "layers.0.returned", "layers.2.attn_mask", "layers.2.call.query"} & set(names)


def test_a_call_that_was_read_gives_the_layers_own_numbers() -> None:
    torch.manual_seed(0)
    module = nn.MultiheadAttention(8, 2, batch_first=True)
    query = torch.randn(2, 3, 8)
    output, weights = (found.detach() for found in module(query, query, query, average_attn_weights=False))
    call = Call(module, query, query, query)
    layer = LayerAttention("a", weights, output, weights, 0.0, None, None, call=call)
    read = run_file.from_bytes(run_file.to_bytes(Run((layer,), None, None, "cpu", "float32", None))).layers[0].call
    assert read is not None
    again = read.module(read.query, read.key, read.value, average_attn_weights=False)
    assert torch.equal(again[0], output)
    assert torch.equal(again[1], weights)


def test_the_other_tools_of_safetensors_read_it(tmp_path: Path) -> None:
    run = mv.run(Scenario())
    run_file.save(run, tmp_path / "a.safetensors")
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
        assert torch.equal(file.get_tensor("layers.0.weights"), run.layers[0].weights)
    assert metadata["format"] == "mha-viz run"
    assert metadata["version"] == "1"
    assert json.loads(metadata["run"])["scenario"] == Scenario().to_query()


def test_views_of_one_memory_are_kept_whole() -> None:
    whole = torch.arange(48.0).reshape(2, 2, 3, 4)
    layers = [
        LayerAttention("a", view, None, None, 0.0, None, None)
        for view in (whole, whole[:1], whole[:, :1], whole.mT, whole[:1].expand(3, -1, -1, -1), whole.view(2, 2, 4, 3))
    ]
    run = Run(tuple(layers), None, None, "cpu", "float32", None)
    assert list(differences(run, run_file.from_bytes(run_file.to_bytes(run)))) == []


def test_tensors_from_another_device_come_on_the_cpu() -> None:
    assert captured().device == "cuda:0"
    assert {layer.weights.device.type for layer in run_file.from_bytes(run_file.to_bytes(captured())).layers} == {"cpu"}


@pytest.mark.parametrize("scenario", ["sparkle=3", "embed_dim=7&num_heads=2", "dtype=int3", "x" * 70_000])
def test_settings_of_another_version_are_left_out_and_said(scenario: str) -> None:
    run = run_file.from_bytes(edited(mv.run(Scenario()), lambda facts: facts.update(scenario=scenario)))
    assert run.scenario is None
    assert run.notes[0].startswith("The run's settings could not be read, so it is shown without them: ")


# What cannot be written


@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        (torch.ones(0, 2, 3, 3), "float32 [0, 2, 3, 3]"),
        (torch.ones(1, 1, 1, 1, dtype=torch.complex64), "complex64 [1, 1, 1, 1]"),
        (torch.ones(()), "float32 []"),
    ],
)
def test_a_tensor_that_a_file_cannot_hold_is_refused(weights: Tensor, kind: str) -> None:
    layer = LayerAttention("a", weights, None, None, 0.0, None, None)
    with pytest.raises(InputError) as caught:
        run_file.to_bytes(Run((layer,), None, None, "cpu", "float32", None))
    wanted = "layers.0.weights must hold real numbers or bools in 1 to 8 dimensions"
    assert str(caught.value) == f"{wanted}, not {kind}."


@pytest.mark.parametrize("characters", [900_000, 1_100_000])
def test_what_is_written_can_be_read_and_too_many_words_are_refused_before(characters: int) -> None:
    run = captured(notes=("x" * characters,))
    if characters < layout.MAX_HEADER:
        assert run_file.from_bytes(run_file.to_bytes(run)).notes == run.notes
    else:
        with pytest.raises(InputError, match=r"would take about 1,1\d\d,\d{3} bytes; a run file keeps at most"):
            run_file.to_bytes(run)


def test_many_layers_share_their_tokens_and_masks() -> None:
    layer = captured().layers[0]
    tokens = tuple(tuple(f"token {n} {i}" for i in range(3)) for n in range(2))
    layers = tuple(replace(layer, query_tokens=tokens, key_tokens=tokens) for _ in range(600))
    data = run_file.to_bytes(captured(layers=layers))
    assert len(data) < 800_000
    assert len(run_file.from_bytes(data).layers) == 600


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    run = captured()
    for path, message in {
        tmp_path / "run.pt": "A run file's name must end with .safetensors, not 'run.pt'.",
        tmp_path / "no" / "run.safetensors": f"'{tmp_path}/no/run.safetensors' cannot be written: no such file or "
        "directory.",
        "a\0.safetensors": "'a\\x00.safetensors' cannot be written: it is no file name.",
    }.items():
        with pytest.raises(InputError) as caught:
            run_file.save(run, path)
        assert str(caught.value) == message


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "run.safetensors"
    run_file.save(captured(), place)
    before = place.read_bytes()

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"cannot be written: no space left on device\."):
        run_file.save(captured(), place)
    assert place.read_bytes() == before


# What cannot be read


def edited(original: Run, change: Callable[[dict[str, Any]], Any], **metadata: str | None) -> bytes:
    """Return a run file whose JSON was changed, and perhaps its metadata."""
    data = run_file.to_bytes(original)
    tensors = safetensors.torch.load(data)
    about = header_of(data)["__metadata__"]
    facts = json.loads(about["run"])
    change(facts)
    about |= {"run": json.dumps(facts), **metadata}
    return safetensors.torch.save(tensors, {name: text for name, text in about.items() if text is not None})


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return the change that puts a value at a path such as layers.0.name."""
    *way, last = (int(part) if part.isdecimal() else part for part in path.split("."))

    def change(facts: dict[str, Any]) -> None:
        functools.reduce(lambda inner, part: inner[part], way, facts)[last] = value

    return change


BAD_FACTS: dict[str, tuple[str, Any, str]] = {
    "no text": ("name", 3, "name must be a text, not 3."),
    "no list": ("layers", {}, "layers must be a list, not an object of 0."),
    "no layers": ("layers", [], "layers must be a list of at least one."),
    "no object": ("layers.0", "x", "layers.0 must be an object with fields, not 'x'."),
    "an unknown field": ("layers.0.colour", 1, "layers.0 has a field 'colour', which is not known."),
    "another choice": ("layers.0.how", "magic", "layers.0.how must be one of module, function, softmax, not 'magic'."),
    "a text for a flag": (
        "layers.0.passed.is_causal",
        "no",
        "layers.0.passed.is_causal must be true or false, not 'no'.",
    ),
    "too large": ("layers.0.dropout", 2, "layers.0.dropout must be a number from 0 to 1, not 2."),
    "true for a number": ("layers.0.dropout", True, "layers.0.dropout must be a number from 0 to 1, not True."),
    "NaN where a number is needed": (
        "layers.0.dropout",
        "nan",
        "layers.0.dropout must be a number from 0 to 1, not 'nan'.",
    ),
    "no number": ("layers.0.output_change", "much", "layers.0.output_change must be a number, not 'much'."),
    "a negative time": ("seconds", -1, "seconds must be a number from 0 to 1e+12, not -1."),
    "a tensor that is not there": (
        "layers.0.weights",
        "layers.9.weights",
        "layers.0.weights is the tensor 'layers.9.weights', which the file does not hold.",
    ),
    "a tensor of another kind": (
        "layers.0.weights",
        "layers.0.attn_mask",
        "layers.0.weights must be a float tensor with 4 dimensions, not bool with 2 dimensions.",
    ),
    "no tensor": ("layers.0.weights", None, "layers.0.weights must be a text, not None."),
    "a tensor of no use": ("norms", [], "the tensor 'norms.0' belongs to nothing in the run."),
    "a negative head": (
        "layers.2.heads",
        [-1],
        "layers.2.heads must be 1 whole numbers from 0 to 9,007,199,254,740,992, not a list of 1.",
    ),
    "heads for another number": (
        "layers.0.heads",
        [0, 1, 2],
        "layers.0.heads must be 2 whole numbers from 0 to 9,007,199,254,740,992, not a list of 3.",
    ),
    "a token list that is not there": (
        "layers.0.query_tokens",
        [0, 3],
        "layers.0.query_tokens must be 2 whole numbers from 0 to 2, not a list of 2.",
    ),
    "a token list of an index below zero": (
        "layers.0.query_tokens",
        [0, -1],
        "layers.0.query_tokens must be 2 whole numbers from 0 to 2, not a list of 2.",
    ),
    "tokens for one item only": (
        "layers.0.key_tokens",
        [0],
        "layers.0.key_tokens must be 2 whole numbers from 0 to 2, not a list of 1.",
    ),
    "one token too many": (
        "tokens.0",
        ["a", "b", "c", "d"],
        "layers.0.query_tokens must have 3 tokens for each item, not 4.",
    ),
    "tokens that are no texts": ("tokens.0", ["a", 1, "c"], "tokens.0 must be a list of texts, not a list of 3."),
    "more extra keys than columns": (
        "layers.0.extra_keys",
        ["a"] * 5,
        "layers.0.extra_keys must be at most 4 texts, not a list of 5.",
    ),
    "an extra key less": (
        "layers.0.extra_keys",
        [],
        "layers.0.attn_mask must fit the weights, but its shape is [3, 3].",
    ),
    "weights of another layer": (
        "layers.0.weights",
        "layers.1.weights",
        "layers.0.returned must fit the weights, but its shape is [2, 2, 3, 4].",
    ),
    "a mask of another layer": (
        "layers.0.attn_mask",
        "layers.1.attn_mask",
        "layers.0.attn_mask must have the shape (L, S) or (4, L, S) for N = 2 and H = 2, got (8, 3, 4).",
    ),
    "a mask of whole numbers": (
        "layers.0.key_padding_mask",
        "layers.0.passed.key_padding_mask",
        "layers.0.key_padding_mask must be bool or a floating type, got torch.uint8.",
    ),
    "a padding mask for a mask": (
        "layers.0.attn_mask",
        "layers.0.key_padding_mask",
        "layers.0.attn_mask must fit the weights, but its shape is [2, 3].",
    ),
    "the masks swapped": (
        "layers.0.key_padding_mask",
        "layers.0.attn_mask",
        "layers.0.key_padding_mask must fit the weights, but its shape is [3, 3].",
    ),
    "heads that do not divide": (
        "layers.0.call.module.num_heads",
        3,
        "layers.0.call.module.num_heads must be a divisor of 8, not 3.",
    ),
    "a huge layer": (
        "layers.0.call.module.embed_dim",
        2**40,
        "layers.0.call.module.embed_dim must be a whole number from 1 to 1,048,576, not 1099511627776.",
    ),
    "a larger layer": (
        "layers.0.call.module.kdim",
        2**20,
        "layers.0.call.state.k_proj_weight must have the shape [8, 1048576], not None.",
    ),
    "other heads than the weights": (
        "layers.0.call.module.num_heads",
        4,
        "layers.0.call must fit the weights [2, 2, 3, 4].",
    ),
    "a parameter of another name": (
        "layers.0.call.state.__class__",
        "layers.0.weights",
        "layers.0.call.state has a field '__class__', which is not known.",
    ),
    "parameters that are no object": (
        "layers.0.call.state",
        [],
        "layers.0.call.state must be an object with fields, not a list of 0.",
    ),
    "another key": (
        "layers.0.call.key",
        "layers.1.call.key",
        "layers.0.call.query, key and value must have vectors of size [8, 8, 8], not [8, 6, 8].",
    ),
    "a norm without a name": ("norms.0", ["norms.0"], "norms.0 must be a name and a tensor."),
    "a device that is code": ("device", "<script>", "device must be a plain name, not '<script>'."),
}


@pytest.mark.parametrize("case", BAD_FACTS)
def test_facts_that_do_not_fit_are_named(case: str) -> None:
    path, value, message = BAD_FACTS[case]
    found = refusal(edited(captured(), put(path, value)))
    if case in ("a larger layer",):  # one of several parameters that do not fit
        assert found.startswith("a.safetensors: layers.0.call.state.")
    else:
        assert found == f"a.safetensors: {message}"


@pytest.mark.parametrize("record", ["", "layers.0", "layers.0.passed", "layers.0.call", "layers.0.call.module"])
def test_every_missing_field_is_named(record: str) -> None:
    def inner(facts: dict[str, Any]) -> dict[str, Any]:
        way = [int(part) if part.isdecimal() else part for part in record.split(".") if part]
        return functools.reduce(lambda found, part: found[part], way, facts)

    names: list[str] = []
    edited(captured(), lambda facts: names.extend(inner(facts)))
    assert len(names) >= 4
    for name in names:
        message = refusal(edited(captured(), lambda facts, name=name: inner(facts).pop(name)))
        assert message == f"a.safetensors: {record}{'.' * bool(record)}{name} is missing."


def test_inputs_and_settings_must_fit_the_layer() -> None:
    run = mv.run(Scenario())
    longer = mv.run(Scenario(text="one more"))
    for change, message in {
        "embed_dim=32": "inputs.query must have vectors of size 32 as the settings say, not 64.",
        "num_heads=8": "layers.0.weights must have 8 heads as the settings say.",
    }.items():
        assert refusal(edited(run, put("scenario", change))) == f"a.safetensors: {message}"
    for changed, message in (
        (replace(run, inputs=longer.inputs), "layers.0.query_tokens must have 11 tokens for each item, not 2."),
        (
            replace(run, inputs=replace(run.inputs, key=longer.inputs.key)),
            "inputs.key_tokens must have 2 tokens for each item, not 11.",
        ),
        (
            replace(run, inputs=mv.run(Scenario(text=SENTENCE)).inputs),
            "layers.0 must have the 2 items of the inputs.",
        ),
    ):
        if "key_tokens" in message:
            changed = replace(changed, inputs=replace(changed.inputs, value=changed.inputs.key))
        assert refusal(run_file.to_bytes(changed)) == f"a.safetensors: {message}"


def test_a_file_that_is_no_run_file_says_what_it_is() -> None:
    run = captured()
    plain = safetensors.torch.save({"weights": torch.ones(2, 2)})
    no_run = "a.safetensors holds tensors, but no run: a run file is what run.save writes."
    assert refusal(plain) == no_run
    assert refusal(edited(run, bool, format="pt")) == no_run
    newer = "a.safetensors is a run file of version '2', but only version '1' can be read."
    assert refusal(edited(run, bool, version="2")) == newer
    assert "version 'None'" in refusal(edited(run, bool, version=None))
    damaged = "a.safetensors is damaged, or is not a .safetensors file: save it again."
    assert refusal(edited(run, bool, run=None)) == damaged
    assert refusal(edited(run, bool, run="[" * 100_000)) == damaged
    assert refusal(edited(run, bool, run='{"name": 1, "name": 2}')) == damaged
    assert refusal(edited(run, bool, run=f'{{"name": {"9" * 10_000}}}')) == damaged
    assert (
        refusal(edited(run, bool, run="[1]"))
        == "a.safetensors: the run must be an object with fields, not a list of 1."
    )
    assert refusal(b"") == "a.safetensors is empty: it must hold at least one tensor."
    assert refusal(b"x", "run.pt") == "run.pt must end with one of .safetensors."


def test_two_fields_of_one_name_are_damage() -> None:
    data = run_file.to_bytes(captured())
    size = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + size].replace(b'"layers.0.attn_mask"', b'"layers.0.output"', 1)
    assert "damaged" in refusal(struct.pack("<Q", len(header)) + header + data[8 + size :])


@pytest.mark.parametrize("size", [2**64 - 1, 2**63, 2**20 + 1, 10**9])
def test_a_header_of_a_size_that_lies_is_damage(size: int) -> None:
    assert "damaged" in refusal(struct.pack("<Q", size) + run_file.to_bytes(captured())[8:])


def test_megabytes_of_metadata_are_refused_before_they_are_parsed() -> None:
    data = safetensors.torch.save({"x": torch.ones(1)}, {"format": "mha-viz run", "version": "1", "run": "x" * 2**22})
    assert "damaged" in refusal(data)


def test_too_many_tensors_and_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    many = safetensors.torch.save({str(i): torch.ones(1, dtype=torch.uint8) for i in range(8_193)})
    assert refusal(many) == "a.safetensors holds 8,193 tensors; a run file has at most 8,192."
    monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "0.001")
    data = run_file.to_bytes(captured())
    assert refusal(data) == f"a.safetensors has {len(data):,} bytes; at most 1,048 are read."


def test_a_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    assert "damaged" in refusal(pickle.dumps(Payload()))
    assert not (tmp_path / "ran").exists()


def test_a_file_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "a.safetensors", "no such file or directory"), ("a\0", "it is no file name")):
        with pytest.raises(InputError, match=rf"cannot be opened: {reason}\.$"):
            run_file.load(path)


# Random damage


def read_or_refused(data: bytes) -> None:
    try:
        run = run_file.from_bytes(data, "a.safetensors")
    except InputError as error:
        message = str(error)
        assert message.startswith("a.safetensors")
        assert message.endswith(".")
        assert message.isprintable()
        assert len(message) < 400
    else:
        assert list(differences(run, run_file.from_bytes(run_file.to_bytes(run)))) == []
        for i, layer in enumerate(run.layers):
            assert layer.allowed.expand_as(layer.weights).shape == layer.weights.shape
            for item in range(layer.weights.shape[0]):
                assert len(run.query_tokens(item, i)) == layer.weights.shape[2]
                assert len(run.key_tokens(item, i)) == layer.weights.shape[3]


WHOLE = run_file.to_bytes(captured())
HEADER = 8 + int.from_bytes(WHOLE[:8], "little")


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x10" + bytes(7) + b"{", WHOLE[:8], WHOLE[:200]]))
def test_random_bytes_are_refused(noise: bytes, start: bytes) -> None:
    with pytest.raises(InputError):
        run_file.from_bytes(start + noise)


@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, HEADER - 1), st.integers(0, max(0, len(changed) - 1))))
        match data.draw(st.sampled_from(["cut", "bit", "byte", "insert", "delete"])):
            case "cut":
                del changed[place:]
            case "bit" if place < len(changed):
                changed[place] ^= 1 << data.draw(st.integers(0, 7))
            case "byte" if place < len(changed):
                changed[place] = data.draw(st.integers(0, 255))
            case "insert":
                changed[place:place] = data.draw(st.binary(max_size=8))
            case "delete":
                del changed[place : place + data.draw(st.integers(1, 8))]
    read_or_refused(bytes(changed))


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, found in inner:
        yield (*way, name)
        yield from places(found, (*way, name))


NAMES = sorted(safetensors.torch.load(WHOLE))
VALUES = st.one_of(
    st.sampled_from([None, True, False, "", "nan", [], {}, [[]], -1, 0, 1, 2**31, 2**63, 10**400, 1e308]),
    st.sampled_from(NAMES),
    st.integers(-2, 9),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.lists(st.integers(-1, 4), max_size=4),
)


@given(data=st.data())
def test_facts_changed_at_random_are_read_or_refused(data: st.DataObject) -> None:
    def change(facts: dict[str, Any]) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            *way, last = data.draw(st.sampled_from(list(places(facts))))
            inner = functools.reduce(lambda found, part: found[part], way, facts)
            if data.draw(st.booleans()):
                inner[last] = data.draw(VALUES)
            else:
                del inner[last]

    read_or_refused(edited(captured(), change))


@given(data=st.data())
def test_tensors_of_other_shapes_are_read_or_refused(data: st.DataObject) -> None:
    tensors = safetensors.torch.load(WHOLE)
    metadata = header_of(WHOLE)["__metadata__"]
    for _ in range(data.draw(st.integers(1, 2))):
        name = data.draw(st.sampled_from(NAMES))
        shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
        dtype = data.draw(st.sampled_from([torch.float32, torch.bool, torch.int8, torch.bfloat16]))
        tensors[name] = torch.zeros(shape, dtype=dtype)
    read_or_refused(safetensors.torch.save(tensors, metadata))


def test_records_are_still_what_the_layout_describes() -> None:
    described = (Path(__file__).parents[2] / "docs" / "run-file.md").read_text(encoding="utf-8")
    for name in (*reading.RUN, *reading.LAYER, *reading.INPUTS, *reading.PASSED, *layout.MODULE):
        assert f"`{name}`" in described, name
