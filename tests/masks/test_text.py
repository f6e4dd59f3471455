"""The mask language as text: reading, printing, and every refusal by its sentence and position."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mha_viz.errors import MaskError
from mha_viz.masks import PATTERNS, Mask, mask, score_bias
from mha_viz.masks.index import Negation, Number, q
from mha_viz.masks.source import MAX_CHARS, MAX_NESTING
from tests.masks.strategies import masks

KNOWN = ", ".join(PATTERNS)
ALPHABET = "bhqkNHLS causl window(4)0123456789.,()+-*/%<>=!&|^~andornot"


@given(masks)
def test_what_is_printed_reads_back_the_same(written: Mask) -> None:
    read = mask(str(written))
    assert read == written
    assert repr(read) == repr(written)
    assert str(read) == str(written)


@given(st.text(ALPHABET, max_size=40) | st.text(max_size=20))
@example("\x00")
@example("1if q else 2")
@example("q\n<\n3")
def test_any_text_is_a_mask_or_a_mask_error(text: str) -> None:
    try:
        read = mask(text)
    except MaskError as error:
        position = error.position or 0
    else:
        position = 0
        assert mask(str(read)) == read
    assert 0 <= position <= len(text)


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("causal&window( 4 )", "causal & window(4)"),
        ("((causal))", "causal"),
        ("causal()", "causal"),
        ("window", "window"),
        ("window(r=3)", "window(3)"),
        ("random(seed=3)", "random(0.1, 3)"),
        ("random(share=1, seed=3)", "random(1.0, 3)"),
        ("causal and not window(4) or full", "causal & ~window(4) | full"),
        ("causal & (window(4) & full)", "causal & window(4) & full"),
        ("(causal | window(4)) & full", "(causal | window(4)) & full"),
        ("causal | (window(4) & full)", "causal | window(4) & full"),
        ("causal ^ full & full | full", "causal ^ full & full | full"),
        ("k<3 and q>=2", "(k < 3) & (q >= 2)"),
        ("not k < 3", "~(k < 3)"),
        ("0<=q-k<3", "0 <= q - k < 3"),
        ("(q-k)<(3)", "q - k < 3"),
        ("q-(k-b) == (q-k)-b", "q - (k - b) == q - k - b"),
        ("-(q*2) % 3 == --3", "-(q * 2) % 3 == 3"),
        ("abs(-q) - -3 < min(q, k, 0x10)", "abs(-q) - -3 < min(q, k, 16)"),
        ("\n  causal\r\n\t& full ", "causal & full"),
    ],
)
def test_printing_uses_the_fewest_parentheses(typed: str, printed: str) -> None:
    assert str(mask(typed)) == printed
    assert mask(printed) == mask(typed)


def test_reading_is_cached_and_leaves_masks_alone() -> None:
    assert mask("causal & window(5)") is mask("causal & window(5)")
    assert mask(mask("causal")) is mask("causal")


def test_python_and_text_build_the_same_mask() -> None:
    assert mask("causal") & ~mask("window(4)") == mask("causal & ~window(4)")
    assert PATTERNS["window"](4) | PATTERNS["prefix"](2) == mask("window(4) | prefix(2)")
    assert repr(-Number(3)) == "Number(value=-3)"
    assert isinstance(-q, Negation)


@pytest.mark.parametrize(
    ("text", "position", "sentence"),
    [
        # names
        ("casual", 0, f"unknown mask 'casual' at position 0: did you mean 'causal'? Known masks: {KNOWN}"),
        ("causal & Windw(4)", 9, f"unknown mask 'Windw' at position 9: did you mean 'window'? Known masks: {KNOWN}"),
        ("xyz", 0, f"unknown mask 'xyz' at position 0: the known masks are {KNOWN}"),
        ("__import__(q)", 0, f"unknown mask '__import__' at position 0: the known masks are {KNOWN}"),
        (
            "q < x",
            4,
            "unknown name 'x' at position 4: the known names are b, h, q, k, N, H, L, S, abs, min, max",
        ),
        (
            "Q < 3",
            0,
            "unknown name 'Q' at position 0: did you mean 'q'? Known names: b, h, q, k, N, H, L, S, abs, min, max",
        ),
        # masks and numbers in each other's place
        ("q - k", 0, "a mask is expected at position 0, but 'q - k' is a number: compare it, as in 'q - k < 4'"),
        ("causal & q", 9, "a mask is expected at position 9, but 'q' is a number: compare it, as in 'q - k < 4'"),
        ("  3", 2, "a mask is expected at position 2, but '3' is a number: compare it, as in 'q - k < 4'"),
        (
            "min(q, k)",
            0,
            "a mask is expected at position 0, but 'min(q, k)' is a number: compare it, as in 'q - k < 4'",
        ),
        ("-q", 0, "a mask is expected at position 0, but '-q' is a number: compare it, as in 'q - k < 4'"),
        ("q < causal", 4, "a number is expected at position 4, but 'causal' is a mask"),
        ("q < (k < 3)", 5, "a number is expected at position 5, but 'k < 3' is a mask"),
        ("q < (k < 3 and full)", 5, "a number is expected at position 5, but 'k < 3 and full' is a mask"),
        ("(causal & full) < 3", 1, "a number is expected at position 1, but 'causal & full' is a mask"),
        ("abs(~full) < 3", 4, "a number is expected at position 4, but '~full' is a mask"),
        # comparisons without parentheses
        (
            "q - k < 3 & k == 0",
            10,
            "a comparison beside '&' needs its own parentheses at position 10: write '(q - k < 3) & (k == 0)'",
        ),
        (
            "causal | q - k < 3",
            7,
            "a comparison beside '|' needs its own parentheses at position 7: write 'causal | (q - k < 3)'",
        ),
        (
            "k < (q + 1) ^ ~h == 0 ^ (b < 1)",
            12,
            "a comparison beside '^' needs its own parentheses at position 12: "
            "write '(k < (q + 1)) ^ ~(h == 0) ^ (b < 1)'",
        ),
        ("~k < 3", 0, "a comparison beside '~' needs its own parentheses at position 0: write '~(k < 3)'"),
        ("full and ~k<3", 9, "a comparison beside '~' needs its own parentheses at position 9: write '~(k<3)'"),
        # whole numbers
        ("k < 1.5", 4, "a mask compares whole numbers only, got '1.5' at position 4"),
        ("k < 1e999", 4, "a mask compares whole numbers only, got '1e999' at position 4"),
        ("k / 2 < 1", 0, "'/' in 'k / 2' at position 0 can leave the whole numbers: a mask has + - * // %"),
        ("k < 9**9**9", 4, "'**' in '9**9**9' at position 4 can leave the whole numbers: a mask has + - * // %"),
        (
            "k < 2147483649",
            4,
            "a whole number must be at most 2**31 = 2147483648, got 2147483649 (at position 4)",
        ),
        ("k % 0 == 1", 0, "a mask cannot divide by zero, as '% 0' does (at position 0)"),
        (
            "full & (q * q * k < 1)",
            8,
            "the result of '*' could be larger than 2**63 - 1: use '%' to keep it smaller (at position 8)",
        ),
        # arguments
        (
            "causal & window(-1)",
            9,
            "wrong arguments for window(r=4): r must be a whole number from 0 to 131072, got -1 (at position 9)",
        ),
        ("causal(3)", 0, "wrong arguments for causal: too many positional arguments (at position 0)"),
        (
            "document",
            0,
            "wrong arguments for document(*lengths): it needs at least one number, as in document(3, 4, 2) "
            "(at position 0)",
        ),
        ("window(q)", 7, "window(r=4) takes plain numbers only, got 'q' at position 7"),
        ("window(True)", 7, "window(r=4) takes plain numbers only, got 'True' at position 7"),
        ("window(*q)", 7, "window(r=4) takes plain numbers only, got '*q' at position 7"),
        ("window(**q)", 9, "window(r=4) takes plain numbers only, got 'q' at position 9"),
        ("window(r=1, r=2)", 14, "window(r=4) was given r twice, again at position 14"),
        ("abs(q, k) < 1", 0, "abs takes one number, got 2 at position 0"),
        ("q < min(k)", 4, "min takes two or more numbers, got 1 at position 4"),
        # no expression
        ("", 0, "a mask must not be empty"),
        (" \n", 0, "a mask must not be empty"),
        ("(q < 3", 0, "the '(' at position 0 is never closed"),
        ("window(4) & (full", 12, "the '(' at position 12 is never closed"),
        ("q < 3)", 5, "the ')' at position 5 closes nothing"),
        (
            "causal causal",
            7,
            "the mask cannot be read at position 7: a name, a number, an operator or a bracket is missing or misplaced",
        ),
        (
            "causal &",
            8,
            "the mask cannot be read at position 8: a name, a number, an operator or a bracket is missing or misplaced",
        ),
        # what Python has and the language has not
        ("'causal'", 0, """"'" at position 0 has no place in a mask"""),
        ("__import__('os')", 11, """"'" at position 11 has no place in a mask"""),
        ("causal # all", 7, "'#' at position 7 has no place in a mask"),
        ("q[0] < 1", 1, "'[' at position 1 has no place in a mask"),
        ("lambda: q", 6, "':' at position 6 has no place in a mask"),
        ("k ≤ q", 2, "'≤' at position 2 has no place in a mask"),
        ("q.real < 1", 0, "'q.real' at position 0 has no place where a number is expected"),
        ("q << 2 < 1", 0, "'q << 2' at position 0 has no place where a number is expected"),
        ("+q < 1", 0, "'+q' at position 0 has no place where a number is expected"),
        ("(q, k) < 1", 0, "'(q, k)' at position 0 has no place where a number is expected"),
        ("1j < q", 0, "'1j' at position 0 has no place where a number is expected"),
        ("abs(x=q) < 1", 0, "'abs(x=q)' at position 0 has no place where a number is expected"),
        ("True", 0, "'True' at position 0 has no place where a mask is expected"),
        ("full if full else full", 0, "'full if full else full' at position 0 has no place where a mask is expected"),
        ("q in k", 0, "'q in k' at position 0 must compare with one of < <= == != >= >"),
        ("q is not k", 0, "'q is not k' at position 0 must compare with one of < <= == != >= >"),
        ("full(1)(2)", 0, "'full(1)(2)' at position 0 has no place where a mask is expected"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_sentence_that_says_where(text: str, position: int, sentence: str) -> None:
    with pytest.raises(MaskError) as refused:
        mask(text)
    assert str(refused.value) == sentence
    assert refused.value.position == position


TOO_DEEP = f"must be nested at most {MAX_NESTING} levels deep: use fewer brackets or operators"


@pytest.mark.parametrize(
    "repeated", ["~", "not ", "-", "(", "abs(", "q+", "q**", "full if full else ", "q<(", "full^("]
)
def test_deep_nesting_is_refused_whatever_it_is_made_of(repeated: str) -> None:
    times = (MAX_CHARS - 10) // (len(repeated) + repeated.count("("))
    text = repeated * times + "q" + ")" * (repeated.count("(") * times)
    for read in (mask, score_bias):
        with pytest.raises(MaskError, match=f"{TOO_DEEP}|cannot be read at position"):
            read(text)


@pytest.mark.parametrize("symbol", ["&", "|", "^", " and ", " or "])
def test_long_chains_of_masks_are_not_deep(symbol: str) -> None:
    assert mask(symbol.join(["full"] * 400)).allowed(3).shape == (3, 3)


def test_nesting_is_allowed_up_to_the_limit() -> None:
    deepest = "~" * (MAX_NESTING - 1) + "full"
    assert str(mask(deepest)) == deepest
    with pytest.raises(MaskError, match=f"^a mask {TOO_DEEP}$"):
        mask("~" + deepest)


def test_length_is_limited_as_typed_and_as_printed() -> None:
    with pytest.raises(MaskError, match=r"^a mask must have at most 4000 characters, got 10000$"):
        mask("~" * 10_000)
    with pytest.raises(
        MaskError, match=r"^a text must have at most 4000 characters once it is written out with its spaces$"
    ):
        mask("&".join(["full"] * 700))
