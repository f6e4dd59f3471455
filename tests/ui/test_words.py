"""What the page says about a run."""

from __future__ import annotations

import math
import re

import pytest

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention import cell
from mha_viz.figures.masks import Difference
from mha_viz.scenario import Scenario
from mha_viz.ui import mask_words, words


def test_the_headline_gives_the_real_shapes() -> None:
    said = words.headline(mv.run(Scenario(text="one two", key_text="un deux trois", kdim=8, vdim=12)))
    assert said.startswith("query [1, 2, 64], key [1, 3, 8], value [1, 3, 12] → weights [1, 4, 2, 3] · cpu float32 · ")
    assert re.search(r" ms · peak [\d.]+ [kM]B$", said)
    assert words.headline(mv.run(Scenario())).startswith("query [1, 11, 64] → weights [1, 4, 11, 11]")


def test_the_caption_gives_the_numbers_of_the_run() -> None:
    assert words.caption(mv.run(Scenario()), 0) == [
        "45.5% masked · 0 of 44 rows NaN · row sums 1.000 to 1.000 · leaked mass 0"
    ]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"training": True, "dropout": 0.5},
            "a weight is set to 0 with that probability and the others are divided by 0.5",
        ),
        ({"mask": "k < q"}, "A row is NaN when every key is hidden from its query"),
        ({"add_bias_kv": True}, "The last column is appended by the layer (bias_k); no mask hides them."),
        ({"add_bias_kv": True, "add_zero_attn": True}, "The last 2 columns are appended by the layer (bias_k, zero)"),
        ({"need_weights": False}, "Your call need_weights=False returned no weights; these come from a second call."),
        (
            {"need_weights": False, "mask": "q > k"},
            "The outputs of the two differ: one holds NaN where the other holds numbers.",
        ),
        (
            {"average_attn_weights": True},
            "Your call returned only their average; these come from a second call. The outputs",
        ),
    ],
)
def test_what_surprises_people_is_explained(values: dict[str, object], said: str) -> None:
    lines = words.caption(mv.run(Scenario(source="normal", query_len=6, **values)), 0)
    assert sum(said in line for line in lines) == 1


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda e: e.name)
def test_the_arithmetic_ends_in_the_weight(example: gallery.Example) -> None:
    run = mv.run(example.scenario)
    shown = dict(re.findall(r"<td>(.*?)</td><td>(.*?)</td>", words.arithmetic(cell.row(run, query=1), 0)))
    last = shown["after dropout"] if "after dropout" in shown else shown["= weight"]
    assert math.isclose(
        float(last.replace("−", "-")), float(run.layers[0].weights[0, 0, 1, 0]), rel_tol=1e-3, abs_tol=1e-9
    )
    score = float(shown["q · k"].replace("−", "-")) * float(shown["× scale, 1 / √D"])
    added = float(shown["+ mask and bias"].removesuffix(" (masked)").replace("−", "-").replace("∞", "inf"))
    total = float(shown["= score"].replace("−", "-").replace("∞", "inf"))
    assert total == score + added or math.isclose(total, score + added, rel_tol=5e-3, abs_tol=5e-3)


def test_tokens_that_look_like_markup_are_escaped_in_tables_and_shading() -> None:
    run = mv.run(Scenario(text="<b> & x"))
    for made in (words.statistics(run, 0), words.shaded(["<b>", '"'], [0.5, math.nan]), words.chosen(run, 0, 0, 0, 1)):
        assert not re.search(r"<b>(?!Head)", made.replace("<b>Head", ""))
    assert "&quot;" in words.shaded(['"'], [1.0])


def test_shading_follows_the_weights_and_marks_nan() -> None:
    made = words.shaded(["a", "b", "c"], [0.5, 0.25, math.nan])
    assert re.findall(r"33,144,141,([\d.]+)", made) == ["0.900", "0.450"]
    assert made.count("dashed") == 1


@pytest.mark.parametrize(
    ("padded", "leaks", "lost", "said"),
    [
        (False, 0, 0, "Green: the query may look at the key. Grey and hatched: hidden."),
        (
            True,
            3,
            2,
            "Green: the query may look at the key. Grey and hatched: hidden, \\ by key_padding_mask, / by attn_mask, × "
            "by both. Orange with a ring: open, but should be hidden (3 cells). Yellow: hidden, but should be open "
            "(2 cells).",
        ),
    ],
)
def test_the_legend_names_what_is_drawn(padded: bool, leaks: int, lost: int, said: str) -> None:
    assert mask_words.legend(Difference(25, leaks, lost), padded) == [said]
