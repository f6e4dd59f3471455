"""Text to tokens and tokens to vectors: words and punctuation of any script, and a seeded table of embeddings.

`embed` stands alone: exported scripts hold its source, so it uses nothing but `torch` and `zlib`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib

import torch

from mha_viz.errors import InputError

MAX_CHARACTERS = 20_000
"""Longest text that is read, in characters, where the caller does not say otherwise."""

# One letter for each character's kind; the pattern below is matched against these letters, not against the text.
#   L letter or underscore   N digit        M mark that joins what is before it   J joiner of emoji and of letters
#   A apostrophe             . , as they    C character that is a token alone     R regional indicator (half a flag)
#   E emoji or other symbol  T skin tone    P any other sign                      space: ends a token, dropped
_TOKEN = re.compile(
    r"N+(?:,NNN(?!N))*(?:\.N+)*M*(?:L[LNMJ]*(?:AL[LNMJ]*)*)?"  # 3.14  1,000  3rd  and keycaps
    r"|L[LNMJ]*(?:AL[LNMJ]*)*"  # don't
    r"|RRM*"
    r"|E[MT]*(?:J[EP][MT]*)*"  # joined emoji, with skin tones
    r"|[^ MJ]M*"
    r"|M+"
)

# Scripts written without spaces, of which each character says something: Han, kana, bopomofo.
_ALONE = (
    (0x2E80, 0x2FDF),
    (0x3005, 0x3007),
    (0x3021, 0x3029),
    (0x3031, 0x3035),
    (0x3041, 0x3096),
    (0x309D, 0x30FA),
    (0x30FC, 0x312F),
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x1AFF0, 0x1B16F),
    (0x20000, 0x3FFFF),
)

# Invisible: soft hyphen, direction marks and overrides, word joiner, byte-order mark. Kept, they would make equal words
# differ, or turn the text around them.
_DROPPED = re.compile("[\u00ad\u061c\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")

_SINGLE = {"_": "L", "'": "A", "\u2019": "A", ".": ".", "\u066b": ".", ",": ",", "\u066c": ","}
_SINGLE |= {"\u200b": " ", "\u200c": "J", "\u200d": "J"}


@functools.lru_cache(maxsize=4096)
def _kind(character: str) -> str:
    if character in _SINGLE:
        return _SINGLE[character]
    code, category = ord(character), unicodedata.category(character)
    if character.isspace() or category in ("Cc", "Zs", "Zl", "Zp"):
        return " "
    if category[0] == "M" or 0xE0020 <= code <= 0xE007F:
        return "M"
    if any(first <= code <= last for first, last in _ALONE):
        return "C"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "R"
    if 0x1F3FB <= code <= 0x1F3FF:
        return "T"
    if category == "So" or 0x1F000 <= code <= 0x1FAFF:
        return "E"
    return category[0] if category[0] in "LN" else "P"


def tokenise(text: str, *, max_characters: int = MAX_CHARACTERS) -> list[str]:
    """Split text into words, numbers and single signs; whitespace only separates.

    A word keeps its marks and inner apostrophes (don't, Hindi vowel signs, Arabic points), a number its point (3.14),
    an emoji its skin tone and what is joined to it. Each Han or kana character is a token. Runs of scripts that are
    written without spaces, such as Thai, stay whole. Text is brought to Unicode form NFC first, so that words that look
    the same are the same; invisible direction marks are dropped; case is kept.

    Args:
        text: Any string. An empty or blank one gives no tokens.
        max_characters: Longest text that is read.

    Raises:
        InputError: The text is too long.
    """
    if len(text) > max_characters:
        raise InputError(f"text has {len(text):,} characters; at most {max_characters:,} are read.")
    text = unicodedata.normalize("NFC", _DROPPED.sub("", text))
    kinds = "".join(map(_kind, text))
    return [text[match.start() : match.end()] for match in _TOKEN.finditer(kinds)]


def embed(tokens: list[str], dim: int, seed: int) -> torch.Tensor:
    """Look tokens up in a seeded table of N(0, 1) vectors, float32 [len(tokens), dim].

    A token's vector depends on the seed and the token alone: equal tokens get equal vectors, and editing one word
    leaves the vectors of the others as they were.
    """
    vectors: dict[str, torch.Tensor] = {}
    for token in tokens:
        if token not in vectors:
            key = zlib.crc32(f"{seed} {token}".encode("utf-8", "surrogatepass"))
            generator = torch.Generator().manual_seed(key)
            vectors[token] = torch.randn(dim, generator=generator, dtype=torch.float32)
    rows = [vectors[token] for token in tokens]
    return torch.stack(rows) if rows else torch.empty(0, dim, dtype=torch.float32)
