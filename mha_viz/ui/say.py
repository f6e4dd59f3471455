"""Sentences on a page, in which what a visitor, a file or a link has brought stands as it was written.

Streamlit reads its messages and captions as Markdown: a link could put links and formulas of its own into them.
"""

from __future__ import annotations

import re

import streamlit as st

# What CommonMark, GitHub's tables and strikethrough, and Streamlit's formulas and colours begin with. An underscore
# within a word and the like mean nothing and stay as they are.
_MARKUP = re.compile(
    r"""[\\`*$<~&|]
    | :(?=\w[\w-]*\[)
    | (?<![^\W_])_ | _(?![^\W_])
    | \](?=[(\[:])
    | ^[ \t]*(?:[#>+=-]|\d+[.)])
    """,
    re.MULTILINE | re.VERBOSE,
)
# Addresses and emoji, which are looked for in the text after all escapes are gone.
_IN_TEXT = re.compile(r"(?i:\bwww(?=\.))|:(?=//|[\w+/-]+:)|(?<=\w)@(?=\w)")
WORD_JOINER = "\u2060"  # no width, and no place to break a line


def plain(text: str) -> str:
    """Escape what Streamlit reads as Markdown; in addresses and emoji a character without width makes them text."""
    text = _IN_TEXT.sub(lambda found: found[0] + WORD_JOINER, text)
    return _MARKUP.sub(lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)


def error(what: object) -> None:
    """Say what is wrong."""
    st.error(plain(str(what)))


def info(what: str) -> None:
    """Say what is worth knowing."""
    st.info(plain(what))


def caption(what: object) -> None:
    """Say it in small letters."""
    st.caption(plain(str(what)))
