from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import mha_viz
from mha_viz.cli import main
from mha_viz.doctor import check
from mha_viz.export import run_file
from mha_viz.masks.recognise import recognise
from mha_viz.ui import launch

HIDDEN = np.triu(np.ones((5, 5), dtype=bool), 1)
PADDING = np.arange(5) >= np.array([[5], [3]])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of masks, in which the program runs."""
    np.save(tmp_path / "good.npy", HIDDEN)
    np.save(tmp_path / "inverted.npy", ~HIDDEN)
    np.save(tmp_path / "padding.npy", PADDING)
    np.savez(tmp_path / "both.npz", attn_mask=HIDDEN, key_padding_mask=PADDING)
    np.savez(tmp_path / "padding.npz", key_padding_mask=PADDING)
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY\x01\x00")
    monkeypatch.chdir(tmp_path)
    return tmp_path


Captured = pytest.CaptureFixture[str]


def run(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    """Return exit status, output and error output."""
    try:
        status = main(list(arguments))
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, *capsys.readouterr()


@pytest.mark.usefixtures("files")
def test_a_right_mask_is_nothing_to_report(capsys: Captured) -> None:
    assert run(capsys, "check", "good.npy", "--intent", "causal", "--heads", "8") == (
        0,
        "attn_mask: bool [5, 5]\n\nMask check: nothing to report\n",
        "",
    )


@pytest.mark.usefixtures("files")
def test_an_inverted_mask_is_found(capsys: Captured) -> None:
    status, output, errors = run(capsys, "check", "inverted.npy", "--intent", "causal")
    assert (status, errors) == (1, "")
    assert output == f"attn_mask: bool [5, 5]\n\n{check(torch.from_numpy(~HIDDEN), intent='causal')}\n"
    assert "inverted-mask" in output


@pytest.mark.usefixtures("files")
def test_without_an_intent_it_says_what_the_mask_looks_like(capsys: Captured) -> None:
    status, output, _ = run(capsys, "check", "good.npy")
    assert status == 0
    assert output.splitlines()[0] == (
        "attn_mask: bool [5, 5], looks like 'causal' (True = ignore, as nn.MultiheadAttention reads it; "
        "100.0% of its cells agree)"
    )
    status, output, _ = run(capsys, "check", "inverted.npy", "--api", "sdpa")
    assert status == 0
    assert output.splitlines()[0] == (
        "attn_mask: bool [5, 5], looks like 'causal' (True = attend, as F.scaled_dot_product_attention reads it; "
        "100.0% of its cells agree)"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("both.npz",),
        ("good.npy", "--key-padding-mask", "padding.npy"),
        ("good.npy", "--key-padding-mask", "padding.npz"),
    ],
)
@pytest.mark.usefixtures("files")
def test_both_masks_are_checked_wherever_they_come_from(arguments: tuple[str, ...], capsys: Captured) -> None:
    status, output, _ = run(capsys, "check", *arguments, "--intent", "causal", "--heads", "2", "--json")
    expected = check(torch.from_numpy(HIDDEN), torch.from_numpy(PADDING), intent="causal", num_heads=2)
    found = json.loads(output)
    masks = found.pop("masks")
    assert status == 0
    assert found == expected.as_dict()
    assert masks == {
        "attn_mask": {"shape": [5, 5], "dtype": "bool", "looks_like": []},
        "key_padding_mask": {"shape": [2, 5], "dtype": "bool", "looks_like": []},
    }


@pytest.mark.usefixtures("files")
def test_a_padding_mask_alone_is_checked(capsys: Captured) -> None:
    outputs = [run(capsys, "check", *given) for given in (["padding.npz"], ["--key-padding-mask", "padding.npy"])]
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 0
    assert outputs[0][1].startswith("key_padding_mask: bool [2, 5], looks like 'padding(5, 3)' (True = ignore")


@pytest.mark.usefixtures("files")
def test_json_says_what_the_text_says(capsys: Captured) -> None:
    status, output, _ = run(capsys, "check", "inverted.npy", "--json")
    found = json.loads(output)
    mask = torch.from_numpy(~HIDDEN)
    assert status == 1
    assert found["masks"]["attn_mask"]["looks_like"] == [guess._asdict() for guess in recognise(mask, most=3)]
    del found["masks"]
    assert found == check(mask).as_dict()


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        (["--heads", "2", "--batch", "3"], {"num_heads": 2, "batch_size": 3}),
        (["--query-len", "4", "--key-len", "6"], {"query_len": 4, "key_len": 6}),
        (["--is-causal"], {"is_causal": True}),
        (["--is-causal", "--api", "sdpa"], {"is_causal": True, "api": "sdpa"}),
        (["--dtype", "float16", "--intent", "window(2)"], {"dtype": torch.float16, "intent": "window(2)"}),
    ],
    ids=str,
)
@pytest.mark.usefixtures("files")
def test_every_argument_reaches_the_check(arguments: list[str], keywords: dict[str, Any], capsys: Captured) -> None:
    array = np.where(HIDDEN, -np.inf, 0).astype(np.float32)
    np.save("m.npy", array)
    status, output, _ = run(capsys, "check", "m.npy", *arguments, "--json")
    expected = check(torch.from_numpy(array), **keywords)
    found = json.loads(output)
    del found["masks"]
    assert found == expected.as_dict()
    assert status == (0 if expected.ok else 1)


@pytest.mark.usefixtures("files")
def test_a_hint_without_a_mask_is_checked(capsys: Captured) -> None:
    status, output, _ = run(capsys, "check", "--is-causal", "--query-len", "4", "--key-len", "4")
    assert status == 1
    assert output.startswith("Mask check: 1 error\n")
    assert "causal-hint-alone" in output


def test_text_is_read_from_standard_input(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("0111\n0011\n0001\n0000"))
    assert run(capsys, "check", "-", "--intent", "causal")[0] == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO("[[0, 1], [1, 1]"))
    assert run(capsys, "check", "-")[2] == "mha-viz: the mask has a '[' that is never closed: paste it whole.\n"


UNREADABLE = {
    ("missing.npy",): "mha-viz: 'missing.npy' cannot be opened: no such file or directory.",
    ("a\0b.npy",): "mha-viz: 'a\\x00b.npy' cannot be opened: it is no file name.",
    ("broken.npy",): "mha-viz: broken.npy is damaged, or is not a .npy file: save it again.",
    ("mask.txt",): "mha-viz: 'mask.txt' cannot be opened: no such file or directory.",
    ("good.npy", "--intent", "causl"): "mha-viz: ",
    (): "mha-viz: check needs the file of a mask, --key-padding-mask FILE or --is-causal.",
    ("both.npz", "--key-padding-mask", "padding.npy"): (
        "mha-viz: key_padding_mask must be given once, but both.npz and padding.npy both hold one."
    ),
    ("good.npy", "--heads", "0"): "mha-viz check: error: argument --heads: must be a whole number from 1, not '0'",
    ("good.npy", "--batch", "two"): "mha-viz check: error: argument --batch: must be a whole number from 1, not 'two'",
    ("good.npy", "--api", "flex"): "mha-viz check: error: argument --api: invalid choice: 'flex'",
}


@pytest.mark.parametrize("arguments", UNREADABLE, ids=repr)
@pytest.mark.usefixtures("files")
def test_what_cannot_be_read_is_said_on_standard_error(arguments: tuple[str, ...], capsys: Captured) -> None:
    status, output, errors = run(capsys, "check", *arguments)
    assert (status, output) == (2, "")
    assert errors.splitlines()[-1].startswith(UNREADABLE[arguments])


@pytest.mark.usefixtures("files")
def test_a_file_that_is_too_large_is_not_read_whole(capsys: Captured, files: Path) -> None:
    with (files / "large.npy").open("wb") as file:
        file.truncate(10**12)  # takes no room on the disk
    assert run(capsys, "check", "large.npy") == (
        2,
        "",
        "mha-viz: large.npy has 135,266,305 bytes; at most 135,266,304 are read.\n",
    )


def test_help_and_version(capsys: Captured) -> None:
    assert run(capsys, "--version") == (0, f"mha-viz {mha_viz.__version__}\n", "")
    status, output, _ = run(capsys, "--help")
    assert status == 0
    assert "check" in output
    assert "open" in output
    assert "Exit status: 0 if nothing is wrong, 1 if something was found" in run(capsys, "check", "--help")[1]
    assert run(capsys, "cure")[0] == 2


# The app


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the app was started with, instead of starting it."""
    calls: list[dict[str, Any]] = []

    def serve(**arguments: Any) -> int:
        calls.append({**arguments, "run": os.environ.get("MHA_VIZ_RUN")})
        return 0

    monkeypatch.setattr(launch, "serve", serve)
    monkeypatch.setenv("MHA_VIZ_RUN", "")
    monkeypatch.delenv("MHA_VIZ_RUN")
    return calls


def test_without_a_command_the_app_starts(served: list[dict[str, Any]], capsys: Captured) -> None:
    assert run(capsys) == (0, "", "")
    assert run(capsys, "open") == (0, "", "")
    assert served == [{"host": "localhost", "port": None, "page": "", "browser": True, "run": None}] * 2


def test_the_app_opens_on_a_run_file(served: list[dict[str, Any]], capsys: Captured, files: Path) -> None:
    run_file.save(mha_viz.run(mha_viz.Scenario()), files / "run.safetensors")
    arguments = ["open", "run.safetensors", "--port", "9000", "--host", "0.0.0.0", "--no-browser"]
    assert run(capsys, *arguments) == (0, "", "")
    place = str((files / "run.safetensors").resolve())
    assert served == [{"host": "0.0.0.0", "port": 9000, "page": "your_model", "browser": False, "run": place}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.safetensors"], "mha-viz: 'none.safetensors' cannot be opened: no such file or directory."),
        (["good.npy"], "mha-viz: good.npy must end with one of .safetensors."),
        (
            ["mask.safetensors"],
            "mha-viz: mask.safetensors holds tensors, but no run: a run file is what run.save writes.",
        ),
        (["--port", "0"], "mha-viz open: error: argument --port: must be a whole number from 1 to 65535, not '0'"),
        (["--port", "x"], "mha-viz open: error: argument --port: must be a whole number from 1 to 65535, not 'x'"),
    ],
)
def test_what_cannot_be_opened_is_said_in_a_sentence(
    arguments: list[str], message: str, served: list[dict[str, Any]], capsys: Captured, files: Path
) -> None:
    safetensors.torch.save_file({"mask": torch.ones(2, 2)}, files / "mask.safetensors")
    status, output, errors = run(capsys, "open", *arguments)
    assert (status, output, served) == (2, "", [])
    assert errors.splitlines()[-1] == message


def test_the_program_runs_as_a_module_and_loads_no_streamlit(files: Path, repository: Path) -> None:
    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "importtime", "-m", "mha_viz", *arguments]
        env = {**os.environ, "PYTHONPATH": str(repository)}
        return subprocess.run(command, cwd=files, env=env, capture_output=True, text=True, check=False)

    done = program("check", "inverted.npy", "--intent", "causal")
    assert done.returncode == 1
    assert "inverted-mask" in done.stdout
    assert "streamlit" not in done.stderr
    assert program("check", "missing.npy").returncode == 2


def test_the_program_is_installed_by_its_name(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"mha-viz": "mha_viz.cli:main"}
