"""Where runs come from: what is kept, what a cache knows it by, and who counts as local."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
import torch

import mha_viz as mv
from mha_viz.errors import InputError
from mha_viz.export import run_file
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, origin
from mha_viz.ui.origin import RunFile

DATA = run_file.to_bytes(mv.run(Scenario(text="one two three")))


def test_a_run_file_is_kept_by_its_digest_and_name() -> None:
    found = origin.keep(DATA, "mine.safetensors")
    assert origin.name(found) == "mine.safetensors"
    assert origin.keep(DATA, "mine.safetensors") == found
    assert torch.equal(cached.run(found).layers[0].weights, mv.run(Scenario(text="one two three")).layers[0].weights)


def test_a_file_that_is_not_here_is_asked_for_again() -> None:
    with pytest.raises(InputError, match=r"The run file 'x.safetensors' is not on this server any more: upload it"):
        origin.kept(RunFile("0123456789abcdef x.safetensors"))


def test_what_is_no_run_file_is_not_kept() -> None:
    with pytest.raises(InputError, match="broken"):
        origin.keep(b"nothing of the kind", "broken.safetensors")


def test_a_file_larger_than_the_budget_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "BUDGET", 10)
    with pytest.raises(InputError, match=r"'big.safetensors' holds [\d,]+ bytes of tensors, but at most 10 are kept."):
        origin.keep(DATA, "big.safetensors")


def test_without_a_file_the_servers_own_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(origin.RUN_VARIABLE, raising=False)
    assert origin.name(RunFile()) == ""
    with pytest.raises(InputError, match="No run file is here yet: upload one on the page Your model"):
        origin.kept(RunFile())
    unset = origin.key(RunFile())
    path = tmp_path / "own.safetensors"
    path.write_bytes(DATA)
    monkeypatch.setenv(origin.RUN_VARIABLE, str(path))
    assert origin.name(RunFile()) == "own.safetensors"
    assert origin.kept(RunFile()) is origin.kept(RunFile())
    assert origin.key(RunFile()) != unset


def test_the_servers_own_file_that_cannot_be_read_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(origin.RUN_VARIABLE, str(tmp_path / "gone.safetensors"))
    with pytest.raises(InputError, match=r"gone\.safetensors"):
        origin.kept(RunFile())


def test_keys_tell_origins_apart() -> None:
    sources = [
        Scenario(),
        Scenario(seed=1),
        RunFile(),
        RunFile("a x.safetensors"),
        Reading(),
        Reading(model="built-in"),
    ]
    assert len({origin.key(source) for source in sources}) == len(sources)


def test_a_model_folder_that_changed_has_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_MODELS", str(tmp_path))
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    before = origin.key(Reading(model=str(tmp_path)))
    assert origin.key(Reading(model=str(tmp_path))) == before
    (tmp_path / "model.safetensors").write_text("{ }")
    assert origin.key(Reading(model=str(tmp_path))) != before


@pytest.mark.parametrize("there", [True, False], ids=["there", "not there"])
def test_a_public_server_does_not_tell_which_folders_there_are(tmp_path: Path, there: bool) -> None:
    folder = tmp_path if there else tmp_path / "no such folder"
    with pytest.raises(InputError, match="may not be loaded on this server"):
        origin.key(Reading(str(folder)))


def test_a_reading_without_a_model_says_where_to_choose_one() -> None:
    with pytest.raises(InputError, match="No pretrained model is chosen yet: choose one on the page Your model"):
        cached.run(Reading())


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        (None, False),
        ("0.0.0.0", False),
        ("192.168.1.7", False),
        ("attention.example.org", False),
        ("localhost.example.org", False),
    ],
)
def test_a_server_is_local_only_where_it_listens_to_its_own_machine(
    monkeypatch: pytest.MonkeyPatch, address: str | None, local: bool
) -> None:
    monkeypatch.setattr(st, "get_option", {"server.address": address}.get)
    assert origin.is_local() is local
