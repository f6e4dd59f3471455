"""A stack of layers on Explore: all layers at a glance, one of them opened, and what happens through the depth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from mha_viz.ui import depth_panels
from tests.ui.test_pages import opened, said, url  # noqa: F401  (a fixture)

Open = Callable[..., AppTest]
SMALL = "embed_dim=16&num_heads=2&num_layers=2&source=normal&query_len=5"


def kinds(app: AppTest) -> list[str]:
    return list(app.button_group(key="w:depth").options)


def shown(app: AppTest, **values: str) -> None:
    """Open the box with what happens through the layers."""
    app.session_state["group:depth"] = True
    for key, value in values.items():
        app.session_state[key] = value
    app.run()


def test_one_layer_is_opened_and_the_link_says_which(opened: Open) -> None:  # noqa: F811
    app = opened(f"stack=encoder&{SMALL}")
    assert "layer 0: layers.0.self_attn" in said(app)
    app.number_input(key="w:view:layer").set_value(1).run()
    assert "layer 1: layers.1.self_attn" in said(app)
    assert "layer=1" in url(app)


def test_a_single_layer_has_no_depth(opened: Open) -> None:  # noqa: F811
    app = opened()
    assert not [box for box in app.expander if box.label == "Through the layers"]
    assert "w:view:layer" not in [number.key for number in app.number_input]


@pytest.mark.parametrize("kind", depth_panels.ABOUT)
def test_every_view_through_the_layers_opens(opened: Open, kind: str) -> None:  # noqa: F811
    app = opened(f"stack=encoder&{SMALL}")
    shown(app, **{"w:depth": kind})
    assert not app.exception
    assert not app.error
    assert depth_panels.ABOUT[kind] in [caption.value for caption in app.caption]
    assert kinds(app) == list(depth_panels.ABOUT)


def test_cross_attention_has_no_rollout(opened: Open) -> None:  # noqa: F811
    app = opened(f"stack=decoder&key_len=4&layer=1&{SMALL}")
    shown(app)
    assert "layer 1: layers.0.multihead_attn" in said(app)
    assert "rollout" not in kinds(app)


@pytest.mark.parametrize("side", ["query", "key"])
def test_a_decoder_reaches_its_target_and_its_memory(opened: Open, side: str) -> None:  # noqa: F811
    app = opened(f"stack=decoder&key_len=4&{SMALL}")
    shown(app, **{"w:depth": "reach", "w:reach": side})
    assert not app.exception
    assert not app.error


def test_reach_through_many_tokens_is_left_to_python(opened: Open) -> None:  # noqa: F811
    app = opened("stack=encoder&embed_dim=8&num_heads=1&num_layers=1&source=normal&query_len=200")
    shown(app, **{"w:depth": "reach"})
    sentence = "The page works out reach for at most 128 tokens, not 200: mv.reach has no such limit."
    assert sentence in [caption.value for caption in app.caption]


def test_the_settings_of_a_stack_show_where_there_is_one(opened: Open) -> None:  # noqa: F811
    app = opened()
    app.session_state["group:Stack"] = True
    app.run()
    assert "w:num_layers" not in [number.key for number in app.number_input]
    app.selectbox(key="w:stack").set_value("encoder").run()
    assert "w:num_layers" in [number.key for number in app.number_input]
    assert "w:memory_mask" not in [area.key for area in app.text_area]
    assert "stack=encoder" in url(app)
