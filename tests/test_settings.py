"""Fields, bounds and query strings, for Scenario and View alike."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mha_viz import settings
from mha_viz.errors import MaskError, MhaVizError, ScenarioError
from mha_viz.scenario import GROUPS, Scenario
from mha_viz.ui.view import View

SETTINGS = (Scenario, View)
FIELDS = [(of, name) for of in SETTINGS for name in settings.metadata(of)]
NUMBERS = [(of, name) for of, name in FIELDS if settings.kinds(of)[name][0] in (int, float)]
CHOICES = [(of, name) for of, name in FIELDS if settings.metadata(of)[name].choices]


@pytest.mark.parametrize(("of", "name"), FIELDS)
def test_every_setting_has_help_and_a_default_that_is_allowed(of: type, name: str) -> None:
    about = settings.metadata(of)[name]
    assert about.help.endswith((".", "?"))
    default = settings.default_of(of, name)
    assert settings.normalise(default, of, name) == default


@pytest.mark.parametrize(("of", "name"), NUMBERS)
def test_numbers_have_both_bounds_and_are_refused_outside_them(of: type, name: str) -> None:
    about = settings.metadata(of)[name]
    assert about.low is not None
    assert about.high is not None
    for outside in (about.low - 1, about.high + 1):
        expected = rf"^{name} must be a(?: whole)? number from {about.low:,} to {about.high:,}(?: or None)?, not "
        with pytest.raises(ScenarioError, match=expected) as caught:
            of(**{name: type(about.low)(outside)})
        assert caught.value.field == name


@pytest.mark.parametrize(("of", "name"), NUMBERS)
@pytest.mark.parametrize("value", ["12", True, [1], float("nan")])
def test_a_number_must_be_a_number(of: type, name: str, value: object) -> None:
    with pytest.raises(ScenarioError, match=f"^{name} must be a"):
        of(**{name: value})


@pytest.mark.parametrize(("of", "name"), CHOICES)
def test_a_choice_outside_the_list_names_the_list(of: type, name: str) -> None:
    listed = re.escape(", ".join(settings.metadata(of)[name].choices))
    with pytest.raises(ScenarioError, match=f"^{name} must be one of {listed}, not 'nonsense'\\.$"):
        of(**{name: "nonsense"})


def test_a_switch_must_be_true_or_false() -> None:
    with pytest.raises(ScenarioError, match=r"^bias must be True or False, not 1\.$"):
        Scenario(bias=1)


@pytest.mark.parametrize(
    ("spelled", "value"), [("1", True), ("on", True), ("TRUE", True), ("0", False), ("Off", False)]
)
def test_a_link_may_spell_a_switch_as_people_do(spelled: str, value: bool) -> None:
    assert Scenario.from_query(f"bias={spelled}").bias is value


def test_half_a_character_is_refused_where_it_is_written() -> None:
    with pytest.raises(
        ScenarioError, match=r"^text holds half a character \(a lone surrogate\), which no link can hold\.$"
    ):
        Scenario(text="a\ud800b")


@pytest.mark.parametrize("value", [None, 5])
def test_a_mask_must_be_a_text(value: object) -> None:
    with pytest.raises(MaskError, match=f"^a mask must be a text, not {value}$"):
        Scenario(mask=value)


def test_a_number_beyond_all_floats_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"^qk_scale must be a number from .*, not 1000"):
        Scenario(qk_scale=10**400)


def test_a_text_must_be_a_text() -> None:
    with pytest.raises(ScenarioError, match=r"^text must be a text, not 5\.$"):
        Scenario(text=5)


def test_a_text_that_is_too_long_is_refused_with_both_lengths() -> None:
    with pytest.raises(ScenarioError, match=r"^text may have at most 20,000 characters, not 20,001\.$"):
        Scenario(text="x" * 20_001)


def test_numpy_numbers_are_taken_and_stored_as_plain_ones() -> None:
    s = Scenario(embed_dim=np.int64(32), qk_scale=np.float32(2.0))
    assert (type(s.embed_dim), s.embed_dim, type(s.qk_scale), s.qk_scale) == (int, 32, float, 2.0)


def _values(of: type, name: str) -> st.SearchStrategy[Any]:
    about = settings.metadata(of)[name]
    kind, optional = settings.kinds(of)[name]
    if kind is bool:
        made: st.SearchStrategy[Any] = st.booleans()
    elif about.choices:
        made = st.sampled_from(about.choices)
    elif kind is int:
        made = st.integers(int(about.low or 0), int(about.high or 0))
    elif kind is float:
        made = st.floats(float(about.low or 0), float(about.high or 0))
    elif name in _TEXTS:
        made = st.sampled_from(_TEXTS[name])
    else:
        made = st.text(max_size=40)
    return st.none() | made if optional else made


_TEXTS = {
    "mask": ["full", "causal", "causal & window(4)", "(q - k < 3) | (k == 0)", "~causal"],
    "src_mask": ["full", "window(2)"],
    "memory_mask": ["full", "window(2) | (h > 0)"],
    "tgt_padding": ["auto", "none", "5, 3, 4"],
    "score_bias": ["", "alibi", "-abs(q - k) / 2"],
    "padding": ["auto", "none", "3", "5, 3, 4"],
    "device": ["cpu", "cuda", "cuda:1", "mps"],
}

IN_ANY_STACK = {
    "add_bias_kv": False,
    "add_zero_attn": False,
    "need_weights": True,
    "average_attn_weights": False,
    "kdim": None,
    "vdim": None,
    "key_len": None,
    "key_text": "",
    "key_table": "",
    "key_file": "",
}


@given(st.data())
@pytest.mark.parametrize("of", SETTINGS)
def test_a_query_string_brings_back_what_it_was_made_of(of: type, data: st.DataObject) -> None:
    values = {name: data.draw(_values(of, name), label=name) for name in settings.metadata(of)}
    if of is Scenario:
        values |= {"embed_dim": values["num_heads"] * 4, "is_causal": False, "unbatched": False}
        values |= IN_ANY_STACK if values["stack"] != "attention" else {}
    made = of(**values)
    read = settings.read_query(of, settings.to_query(made))
    assert not read.errors
    assert not read.unknown
    assert of(**read.values) == made


def test_defaults_are_left_out_of_the_query_string() -> None:
    assert Scenario().to_query() == ""
    assert Scenario(num_heads=8, bias=False).to_query() == "num_heads=8&bias=0"
    assert replace(Scenario(query_len=5), query_len=None).to_query() == ""


def test_a_link_with_unknown_settings_still_works() -> None:
    assert Scenario.from_query("?num_heads=8&from_the_future=1") == Scenario(num_heads=8)
    assert settings.read_query(Scenario, "num_heads=8&from_the_future=1").unknown == ("from_the_future",)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ("num_heads=abc", r"num_heads must be a whole number from 1 to 256, not 'abc'\."),
        ("num_heads=99999", r"num_heads must be a whole number from 1 to 256, not 99,999\."),
        ("qk_scale=nan", r"qk_scale must be a number from 0.0 to 1,000.0, not nan\."),
        ("bias=perhaps", r"bias must be True or False, not 'perhaps'\."),
        ("embed_dim=65&num_heads=4", "num_heads must divide embed_dim"),
        ("mask=" + "x" * 9_000, "mask"),
        ("text=" + "x" * 70_000, r"The link may have at most 65,536 characters, not 70,005\."),
    ],
)
def test_a_link_with_a_bad_value_says_so_in_python(link: str, said: str) -> None:
    with pytest.raises(MhaVizError, match=said):
        Scenario.from_query(link)


@given(st.text(max_size=200))
def test_no_link_makes_anything_but_a_scenario_or_one_of_our_errors(link: str) -> None:
    with contextlib.suppress(MhaVizError):
        assert isinstance(Scenario.from_query(link), Scenario)


@given(st.lists(st.tuples(st.sampled_from(list(settings.metadata(Scenario))), st.text(max_size=12)), max_size=8))
def test_the_nearest_scenario_keeps_every_value_that_fits(pairs: list[tuple[str, str]]) -> None:
    read = settings.read_query(Scenario, settings.encode_query(pairs))
    scenario, errors = settings.nearest(Scenario, read.values)
    kept = sum(getattr(scenario, name) == value for name, value in read.values.items())
    assert kept >= len(read.values) - len(errors)


def test_the_nearest_scenario_drops_the_value_that_does_not_fit_and_keeps_the_rest() -> None:
    scenario, errors = settings.nearest(Scenario, {"embed_dim": 65, "text": "my words", "seed": 3})
    assert scenario == Scenario(text="my words", seed=3)
    assert len(errors) == 1


def test_heads_that_do_not_divide_embed_dim_are_refused_with_a_way_out() -> None:
    expected = r"^num_heads must divide embed_dim, but 64 / 6 is not a whole number: try num_heads=4 or embed_dim=66\.$"
    with pytest.raises(ScenarioError, match=expected) as caught:
        Scenario(embed_dim=64, num_heads=6)
    assert caught.value.field == "num_heads"


@given(st.integers(1, 500), st.integers(1, 40))
def test_the_ways_out_do_divide(embed_dim: int, num_heads: int) -> None:
    try:
        Scenario(embed_dim=embed_dim, num_heads=num_heads)
    except ScenarioError as error:
        heads, dim = re.findall(r"=(\d+)", str(error))
        assert embed_dim % int(heads) == 0
        assert int(dim) % num_heads == 0


def test_unbatched_input_has_no_batch() -> None:
    expected = r"^unbatched=True has no batch dimension, so batch_size must be 1 or None, not 3\.$"
    with pytest.raises(ScenarioError, match=expected):
        Scenario(unbatched=True, batch_size=3)


def test_the_causal_hint_needs_a_mask() -> None:
    with pytest.raises(ScenarioError, match=r"^is_causal=True is a hint about attn_mask .* set mask='causal'"):
        Scenario(is_causal=True, mask="full")
    assert Scenario(is_causal=True, mask="causal").is_causal


@pytest.mark.parametrize(
    ("given_padding", "stored"),
    [
        ((5, 3, 4), "5, 3, 4"),
        ([5], "5"),
        ("5 3,4", "5, 3, 4"),
        (None, "none"),
        ("AUTO", "auto"),
        (np.array([2, 1]).tolist(), "2, 1"),
    ],
)
def test_padding_is_stored_in_one_spelling(given_padding: object, stored: str) -> None:
    assert Scenario(padding=given_padding).padding == stored


@pytest.mark.parametrize("padding", ["-1", "five", "1.5", "", "__import__('os')"])
def test_padding_that_is_no_lengths_is_refused(padding: str) -> None:
    with pytest.raises(ScenarioError, match=r"^padding must be 'auto', 'none' or the real length of each batch item"):
        Scenario(padding=padding)


def test_the_targets_padding_is_spelled_likewise_and_named_in_its_error() -> None:
    assert Scenario(tgt_padding=(5, 3)).tgt_padding == "5, 3"
    with pytest.raises(ScenarioError, match=r"^tgt_padding must be 'auto', 'none' or the real length") as caught:
        Scenario(tgt_padding="five")
    assert caught.value.field == "tgt_padding"


def test_the_fields_of_a_link_stand_in_the_order_of_the_groups() -> None:
    groups = [about.group for about in settings.metadata(Scenario).values()]
    assert list(dict.fromkeys(groups)) == list(GROUPS)
    assert Scenario(seed=1, stack="encoder", bias=False, mask="full", query_len=3).to_query() == (
        "query_len=3&mask=full&bias=0&stack=encoder&seed=1"
    )


@pytest.mark.parametrize(
    ("field", "values", "said"),
    [
        (
            "add_bias_kv",
            {"add_bias_kv": True},
            "has no extra keys, so add_bias_kv must be False: set add_bias_kv=False",
        ),
        ("add_zero_attn", {"add_zero_attn": True}, "has no extra keys, so add_zero_attn must be False: set add_zero"),
        ("is_causal", {"is_causal": True}, "finds out itself whether its masks are causal, so is_causal must be False"),
        ("need_weights", {"need_weights": False}, "calls its attention itself, so need_weights must be True: set need"),
        ("average_attn_weights", {"average_attn_weights": True}, "calls its attention itself, so average_attn_weights"),
        (
            "unbatched",
            {"unbatched": True},
            "is handed a batch here, so unbatched must be False: set unbatched=False or",
        ),
        ("kdim", {"kdim": 32}, "has vectors of one size, so kdim must be None or embed_dim 64, not 32: set kdim=None"),
        ("vdim", {"vdim": 8}, "has vectors of one size, so vdim must be None or embed_dim 64, not 8: set vdim=None or"),
    ],
)
@pytest.mark.parametrize("stack", ["encoder", "decoder", "encoder-decoder"])
def test_what_a_stack_has_no_argument_for_is_refused_with_a_way_out(
    stack: str, field: str, values: dict[str, Any], said: str
) -> None:
    assert Scenario(**values).stack == "attention"
    with pytest.raises(ScenarioError, match=f"^stack='{stack}' {re.escape(said)}") as caught:
        Scenario(stack=stack, **values)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("key_text", {"key_text": "other words"}),
        ("key_len", {"source": "normal", "key_len": 5}),
        ("key_table", {"source": "table", "table": "1 2", "key_table": "3 4"}),
        ("key_file", {"source": "upload", "key_file": "abc mine.npz"}),
    ],
)
def test_an_encoder_has_no_key_of_its_own(field: str, values: dict[str, Any]) -> None:
    empty = "None" if field == "key_len" else "''"
    expected = (
        f"^stack='encoder' attends to its own query alone, so {field} must be {empty}: empty it, or set "
        "stack='decoder' or stack='encoder-decoder'\\.$"
    )
    with pytest.raises(ScenarioError, match=expected) as caught:
        Scenario(stack="encoder", **values)
    assert caught.value.field == field
    assert Scenario(stack="decoder", **values).cross_attention


def test_the_stacks_settings_mean_nothing_to_the_layer_alone() -> None:
    s = Scenario(num_layers=3, memory_mask="causal", tgt_padding="4, 2", norm_first=True)
    assert not s.has_memory
    assert [Scenario(stack=kind).has_memory for kind in ("encoder", "decoder", "encoder-decoder")] == [
        False,
        True,
        True,
    ]


def test_a_device_must_look_like_one() -> None:
    with pytest.raises(ScenarioError, match=r"^device must be cpu, mps, cuda or cuda:<number>, not 'tpu'\.$"):
        Scenario(device="tpu")


def test_a_mask_is_stored_as_it_prints_and_a_bad_one_names_its_field() -> None:
    assert Scenario(mask="causal&window( 4 )").mask == "causal & window(4)"
    with pytest.raises(MaskError) as caught:
        Scenario(mask="casual")
    assert caught.value.field == "mask"


@pytest.mark.parametrize(
    ("values", "cross"),
    [
        ({}, False),
        ({"key_len": 5}, True),
        ({"key_text": "other words"}, True),
        ({"kdim": 32}, True),
        ({"kdim": 64, "vdim": 64}, False),
        ({"source": "normal", "key_text": "not used"}, False),
        ({"source": "table", "table": "1 2", "key_table": "3 4"}, True),
    ],
)
def test_attention_is_cross_attention_when_the_key_is_not_the_query(values: dict[str, Any], cross: bool) -> None:
    assert Scenario(**values).cross_attention is cross
