"""The settings of a session: each kind is its own, and one link carries them all."""

from __future__ import annotations

from itertools import combinations

import pytest

from mha_viz import settings
from mha_viz.ui import state
from mha_viz.ui.view import View


@pytest.mark.parametrize(("one", "other"), list(combinations([*state.CHOSEN, View], 2)), ids=lambda kind: kind.__name__)
def test_no_two_kinds_of_settings_share_a_name_in_the_link(one: type, other: type) -> None:
    assert not settings.metadata(one).keys() & settings.metadata(other).keys()


@pytest.mark.parametrize("kind", [*state.CHOSEN, View], ids=lambda kind: kind.__name__)
def test_defaults_leave_the_link_empty(kind: type) -> None:
    assert settings.to_query(kind()) == ""
