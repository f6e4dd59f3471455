from __future__ import annotations

import inspect
import subprocess
import sys
import unicodedata
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mha_viz.errors import InputError
from mha_viz.inputs.text import embed, tokenise

CASES = {
    "": [],
    " \t\n\u3000\u00a0 ": [],
    "The cat sat.": ["The", "cat", "sat", "."],
    "Don't! It\u2019s 'quoted'": ["Don't", "!", "It\u2019s", "'", "quoted", "'"],
    "3.14 1,000.5 1,2,3 end.": ["3.14", "1,000.5", "1", ",", "2", ",", "3", "end", "."],
    "-5 3rd x\u00b2 10km": ["-", "5", "3rd", "x\u00b2", "10km"],
    "snake_case well-known": ["snake_case", "well", "-", "known"],
    "<b>x</b>": ["<", "b", ">", "x", "<", "/", "b", ">"],
    "Stra\u00dfe cafe\u0301 na\u00efve": ["Stra\u00dfe", "caf\u00e9", "na\u00efve"],
    "x\u0304y q\u0323\u0307": ["x\u0304y", "q\u0323\u0307"],
    "猫坐在垫子上。": ["猫", "坐", "在", "垫", "子", "上", "。"],
    "日本語のテキスト": ["日", "本", "語", "の", "テ", "キ", "ス", "ト"],
    "AI模型v2": ["AI", "模", "型", "v2"],
    "한국어 문장": ["한국어", "문장"],
    "القِطُّ جالسٌ، نعم": ["القِطُّ", "جالسٌ", "،", "نعم"],
    "\u0663\u066b\u0661\u0664": ["\u0663\u066b\u0661\u0664"],
    "שָׁלוֹם עולם": ["שָׁלוֹם", "עולם"],
    "नमस्ते क्षत्रिय।": ["नमस्ते", "क्षत्रिय", "।"],
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645": ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"],
    "Привет, мир": ["Привет", ",", "мир"],
    "hi\u200bthere so\u00adft \u202eab\u202c": ["hi", "there", "soft", "ab"],
    "😀😀": ["😀", "😀"],
    "👩🏽\u200d💻 👨\u200d👩\u200d👧!": ["👩🏽\u200d💻", "👨\u200d👩\u200d👧", "!"],
    "🇩🇪🇫🇷 1\ufe0f\u20e3 ❤\ufe0f": ["🇩🇪", "🇫🇷", "1\ufe0f\u20e3", "❤\ufe0f"],
    "🏴\U000e0067\U000e0062\U000e007f": ["🏴\U000e0067\U000e0062\U000e007f"],
    "a\x00b": ["a", "b"],
    "\u0301 x": ["\u0301", "x"],
}


@pytest.mark.parametrize(("text", "tokens"), CASES.items())
def test_tokens_of(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


any_text = st.text(
    alphabet=st.one_of(st.sampled_from("ab'\u2019.,12 _猫की\u0301\u200d👩🏽💻🇩\u20e3\ufe0f"), st.characters()),
    max_size=40,
)


@given(any_text)
def test_no_visible_character_is_lost_or_added(text: str) -> None:
    tokens = tokenise(text)
    assert not any(character.isspace() for token in tokens for character in token)
    assert all(tokens)
    kept = [c for c in "".join(tokens) if c not in "\u200c\u200d"]
    plain = unicodedata.normalize(
        "NFC", "".join(c for c in text if unicodedata.category(c) != "Cf" or ord(c) > 0xE0000)
    )
    invisible = ("Cc", "Cf", "Zs", "Zl", "Zp")
    shown = [c for c in plain if unicodedata.category(c) not in invisible or 0xE0020 <= ord(c) <= 0xE007F]
    assert [c for c in kept if unicodedata.category(c) not in invisible or ord(c) > 0xE0000] == shown


@given(any_text)
def test_tokens_are_tokens_again(text: str) -> None:
    for token in tokenise(text):
        assert tokenise(token) == [token]


def test_a_text_of_the_largest_size_is_read_and_a_longer_one_refused() -> None:
    assert len(tokenise("a" * 20_000)) == 1
    with pytest.raises(InputError) as caught:
        tokenise("a" * 40_123)
    assert str(caught.value) == "text has 40,123 characters; at most 20,000 are read."
    with pytest.raises(InputError, match=r"^text has 4 characters; at most 3 are read\.$"):
        tokenise("abcd", max_characters=3)


def test_a_vector_is_drawn_from_the_checksum_of_seed_and_token() -> None:
    for token in ("cat", "猫", "\ud800"):
        key = zlib.crc32(b"7 " + token.encode("utf-8", "surrogatepass"))
        expected = torch.randn(5, generator=torch.Generator().manual_seed(key))
        assert torch.equal(embed([token], 5, 7)[0], expected)


@given(st.lists(st.text(max_size=3), max_size=8), st.integers(1, 20), st.integers(0, 2**32))
def test_equal_tokens_have_equal_vectors_and_others_do_not_matter(tokens: list[str], dim: int, seed: int) -> None:
    vectors = embed(tokens, dim, seed)
    assert vectors.shape == (len(tokens), dim)
    assert vectors.dtype == torch.float32
    for token, vector in zip(tokens, vectors, strict=True):
        assert torch.equal(vector, embed([token], dim, seed)[0])
    distinct = {tuple(vector.tolist()) for vector in vectors}
    assert len(distinct) == len(set(tokens))


def test_case_and_seed_matter() -> None:
    cat = embed(["cat"], 8, 0)
    assert not torch.equal(cat, embed(["Cat"], 8, 0))
    assert not torch.equal(cat, embed(["cat"], 8, 1))


def test_the_table_is_normal() -> None:
    vectors = embed([str(i) for i in range(2_000)], 24, 3)
    assert abs(vectors.mean()) < 0.02
    assert abs(vectors.std() - 1) < 0.02


def test_another_process_draws_the_same_vectors_from_the_source_text_alone() -> None:
    code = f"import torch, zlib\n{inspect.getsource(embed)}\nprint(embed(['cat', '猫'], 4, 1).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env={"PYTHONHASHSEED": "99", "PYTHONUTF8": "1"},
    )
    assert done.stdout.strip() == str(embed(["cat", "猫"], 4, 1).tolist())
