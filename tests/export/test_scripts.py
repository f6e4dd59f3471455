"""Exported scripts run by themselves, need only torch, and give the app's numbers."""

from __future__ import annotations

import ast
import contextlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention import stack
from mha_viz.inputs import store
from mha_viz.inputs.assemble import build
from mha_viz.inputs.synthetic import SOURCES
from mha_viz.inputs.upload import Upload
from mha_viz.masks import PATTERNS
from mha_viz.scenario import Scenario


def executed(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "exported"}
    with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng(devices=[]):
        exec(compile(source, "exported.py", "exec"), names)
    return names


def assert_reproduces_the_stack(s: Scenario) -> None:
    run = mv.run(s)
    names = executed(mv.export.script(s))
    assert len(names["weights"]) == len(run.layers)
    for found, layer in zip(names["weights"], run.layers, strict=True):
        assert torch.equal(found.nan_to_num(-1), layer.weights.nan_to_num(-1))
    own = stack.module(s)
    stack.ask_for_weights(own)
    expected = stack.forward(s, own, stack.arguments(s, build(s)))
    assert torch.equal(names["output"].nan_to_num(-1), expected.nan_to_num(-1))


def assert_reproduces(s: Scenario) -> None:
    layer = mv.run(s).layers[0]
    names = executed(mv.export.script(s))
    assert torch.equal(names["weights"].nan_to_num(-1), layer.weights.nan_to_num(-1))
    assert torch.equal(names["output"].nan_to_num(-1), layer.output.nan_to_num(-1))


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda e: e.name)
def test_the_script_of_every_example_reproduces_its_weights(example: gallery.Example) -> None:
    reproduces = assert_reproduces if example.scenario.stack == "attention" else assert_reproduces_the_stack
    reproduces(example.scenario)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "encoder-decoder"])
@pytest.mark.parametrize(
    "more",
    [
        {"norm_first": True, "activation": "gelu", "bias": False, "dim_feedforward": 10},
        {"batch_first": False, "batch_size": 2, "padding": "5, 3", "tgt_padding": "6, 4", "num_layers": 2},
        {"training": True, "dropout": 0.3, "num_layers": 2, "qk_scale": 1.0},
        {"dtype": "float64", "score_bias": "alibi", "padding": [5], "tgt_padding": [6]},
        {"dtype": "bfloat16", "mask_encoding": "float", "padding": [5]},
        {"mask": "causal | (h > 0)", "memory_mask": "window(4) | (b == 1)", "src_mask": "causal", "batch_size": 2},
    ],
    ids=str,
)
def test_the_script_of_a_stack_reproduces_every_call(kind: str, more: dict[str, Any]) -> None:
    memory = {} if kind == "encoder" else {"key_len": 5}
    length = 5 if kind == "encoder" else 6
    usual = {"source": "normal", "query_len": length, "stack": kind, "num_layers": 1}
    assert_reproduces_the_stack(Scenario(**{**usual, **memory, **more}))


def test_the_script_of_a_stack_refuses_what_the_stack_refuses() -> None:
    table = {"source": "table", "table": "1 2\n3 4", "value_table": "5 6\n7 8", "embed_dim": 2, "num_heads": 1}
    s = Scenario(stack="decoder", **table)
    for ask in (mv.run, mv.export.script):
        with pytest.raises(mv.InputError, match=r"^A stack's memory is both key and value"):
            ask(s)


@pytest.mark.parametrize("source", SOURCES)
def test_the_script_of_every_source_reproduces_its_weights(source: str) -> None:
    assert_reproduces(Scenario(source=source, query_len=7, mask="causal"))
    assert_reproduces(Scenario(source=source, query_len=5, key_len=7, kdim=10, vdim=6, mask="full", batch_size=2))


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=lambda p: p.name)
@pytest.mark.parametrize("encoding", ["bool", "float"])
def test_the_script_of_every_mask_reproduces_its_weights(pattern: Any, encoding: str) -> None:
    s = Scenario(source="normal", query_len=6, key_len=8, batch_size=2, mask=pattern.example, mask_encoding=encoding)
    assert_reproduces(s)


@pytest.mark.parametrize(
    "more",
    [
        {"unbatched": True, "padding": [4], "query_len": 6},
        {"batch_first": False, "batch_size": 2, "padding": "6, 3", "query_len": 6, "add_bias_kv": True},
        {"training": True, "dropout": 0.4, "query_len": 6, "add_zero_attn": True},
        {"dtype": "float64", "score_bias": "alibi", "query_len": 6, "mask": "full"},
        {"dtype": "bfloat16", "mask_encoding": "float", "query_len": 6, "padding": [5]},
        {"kdim": 8, "vdim": 12, "key_len": 5, "query_len": 6, "bias": False, "qk_scale": 2.5},
        {"mask": "causal | (h > 0)", "batch_size": 2, "query_len": 6, "is_causal": True, "num_heads": 8},
        {"mask": "(b == 1) & causal", "batch_size": 2, "query_len": 6, "score_bias": "-abs(q - k) * h"},
    ],
    ids=str,
)
def test_the_script_carries_every_option(more: dict[str, Any]) -> None:
    assert_reproduces(Scenario(**{"source": "normal", **more}))


def test_tables_and_files_travel_inside_the_script() -> None:
    table = "a 1 2\nb 3 nan\nc 5 6"
    assert_reproduces(Scenario(source="table", table=table, embed_dim=2, num_heads=1, mask="full"))
    tensors = {"query": torch.randn(2, 4, 6), "key": torch.randn(2, 5, 6)}
    reference = store.put(
        Upload(name="mine.npz", digest="d" * 64, tensors=tensors, dtypes=dict.fromkeys(tensors, "float32"))
    )
    s = Scenario(source="upload", query_file=reference, key_file=reference, embed_dim=6, num_heads=2, mask="full")
    assert mv.run(s).layers[0].weights.shape == (2, 2, 4, 5)
    assert_reproduces(s)


def test_tensors_too_large_to_write_into_a_script_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mha_viz.export.scripts.MAX_EMBEDDED_BYTES", 20)
    s = Scenario(source="table", table="1 2\n3 4\n5 6", embed_dim=2, num_heads=1)
    with pytest.raises(
        mv.InputError, match=r"^query is too large to be written into a script: it has 24 bytes, at most 20\.$"
    ):
        mv.export.script(s)


def test_the_script_imports_torch_and_the_standard_library_alone() -> None:
    for s in (
        Scenario(),
        Scenario(stack="encoder-decoder"),
        Scenario(source="clusters"),
        Scenario(source="table", table="1 2", embed_dim=2, num_heads=1),
    ):
        tree = ast.parse(mv.export.script(s))
        imported = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert imported <= {"torch", "base64", "math", "zlib"}
        assert all(n.module in ("torch", "__future__") for n in ast.walk(tree) if isinstance(n, ast.ImportFrom))


@given(st.text(min_size=1, max_size=60))
@settings(max_examples=25)
def test_no_text_can_leave_its_quotes(text: str) -> None:
    try:
        source = mv.export.script(Scenario(text=text, embed_dim=8, num_heads=2))
    except mv.MhaVizError:
        return
    names = executed(source)
    assert names["weights"].shape[1] == 2


def test_the_script_runs_as_a_program_where_mha_viz_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "attention.py").write_text(mv.export.script(Scenario()), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-I", "attention.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "weights [1, 4, 11, 11] output [1, 11, 64]" in done.stdout
