"""Who may load what."""

from __future__ import annotations

import pytest

from mha_viz.errors import InputError
from mha_viz.pretrained import Reading, allowed, read, read_image

HUB_NAME = "google-bert/bert-base-cased"


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("MHA_VIZ_MODELS", raising=False)


def test_without_a_list_only_a_local_server_loads_any_model():
    allowed(HUB_NAME, local=True)
    allowed("built-in", local=False)
    with pytest.raises(InputError) as refused:
        allowed(HUB_NAME, local=False)
    assert str(refused.value) == (
        "model 'google-bert/bert-base-cased' may not be loaded on this server: choose built-in, or have its name or "
        "folder listed in the environment variable MHA_VIZ_MODELS there."
    )


@pytest.mark.parametrize("local", [True, False])
def test_a_list_holds_whoever_asks(monkeypatch, local):
    monkeypatch.setenv("MHA_VIZ_MODELS", f"openai-community/gpt2, {HUB_NAME}")
    allowed(HUB_NAME, local=local)
    allowed("built-in", local=local)
    for other in ("google-bert/bert-base", "gpt2", "/"):
        with pytest.raises(InputError):
            allowed(other, local=local)
    monkeypatch.setenv("MHA_VIZ_MODELS", "*")
    allowed("gpt2", local=local)
    monkeypatch.setenv("MHA_VIZ_MODELS", "")
    with pytest.raises(InputError):
        allowed(HUB_NAME, local=local)


def test_a_listed_folder_stands_for_what_is_inside_it_and_nothing_else(monkeypatch, tmp_path):
    for name in ("models/bert", "models-2", "secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models" / "link").symlink_to(tmp_path / "secret")
    monkeypatch.setenv("MHA_VIZ_MODELS", str(tmp_path / "models"))
    allowed(str(tmp_path / "models"), local=False)
    allowed(str(tmp_path / "models" / "bert"), local=False)
    for outside in ("models-2", "secret", "models/../secret", "models/link", "models/missing"):
        with pytest.raises(InputError):
            allowed(str(tmp_path / outside), local=False)


def test_a_folder_does_not_pass_for_the_hub_name_that_it_is_called_by(monkeypatch, tmp_path):
    (tmp_path / "gpt2").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MHA_VIZ_MODELS", "org/gpt2")
    (tmp_path / "org").mkdir()
    allowed("org/gpt2", local=False)
    with pytest.raises(InputError):
        allowed("gpt2", local=False)


def test_reading_asks_first(tmp_path):
    with pytest.raises(InputError, match="may not be loaded on this server"):
        read(Reading(model=str(tmp_path)), local=False)
    with pytest.raises(InputError, match="may not be loaded on this server"):
        read_image(str(tmp_path), None, local=False)
