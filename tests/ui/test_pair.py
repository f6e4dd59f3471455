"""The two sides of a comparison as text: what they read, write, change and refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mha_viz.errors import MhaVizError, ScenarioError
from mha_viz.scenario import Scenario
from mha_viz.ui.pair import Pair, Place, Side


@pytest.mark.parametrize(
    "text",
    ["", "mask=full", "layer=2&head=1", "average=1&item=3", "of=file&layer=3", "of=model&model_text=Hello", "seed=0"],
)
def test_a_side_reads_what_it_writes(text: str) -> None:
    assert str(Side.read(text)) == text
    assert Side.read(str(Side.read(text))) == Side.read(text)


def test_a_pair_takes_sides_and_spells_them_one_way() -> None:
    assert Pair("head=2&mask= window( 2 )").left == "head=2&mask=window%282%29"
    assert Pair(Side(Place(head=1))).left == "head=1"  # type: ignore[arg-type]
    with pytest.raises(ScenarioError, match="left must be a text, not int"):
        Pair(3)  # type: ignore[arg-type]


def test_a_side_that_comes_from_elsewhere_loses_what_has_no_place_there() -> None:
    side = Side.read("mask=full&head=2")
    assert str(side.but(of="file")) == "of=file&head=2"
    assert str(side.but(seed=3)) == "head=2&mask=full&seed=3"


@pytest.mark.parametrize("text", ["seed=0", "num_heads=8", "of=model&model=built-in"])
def test_a_side_changes_what_it_names_and_nothing_else(text: str) -> None:
    side = Side.read(text)
    base = side.kind(**({"seed": 9} if side.kind is Scenario else {}))
    assert side.origin(lambda kind: base) == replace(base, **side.changes)


def test_changes_that_do_not_fit_the_session_are_refused() -> None:
    with pytest.raises(MhaVizError, match="num_heads must divide"):
        Side.read("num_heads=5").origin(lambda kind: Scenario())


def test_by_default_a_full_mask_is_compared_with_a_causal_one() -> None:
    assert Pair().over(Scenario()) == Pair()
    assert Pair().over(Scenario(mask="full")) == Pair("", "mask=causal")
    assert Pair("seed=1").over(Scenario(mask="full")) == Pair("seed=1")
