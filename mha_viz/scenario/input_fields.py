"""The settings that say what goes into the layer."""

from __future__ import annotations

from dataclasses import dataclass

from mha_viz.settings import setting

INPUTS = "Inputs"

MAX_LEN = 131_072
MAX_TEXT = 20_000
PATTERNED = ("normal", "uniform", "one_hot", "positional", "repeated", "clusters")  # the names in inputs.synthetic
SENTENCE = "the cat sat on the mat because the cat was tired"


@dataclass(frozen=True)
class InputFields:
    """Where query, key and value come from, and how many of them there are."""

    source: str = setting(
        "text",
        group=INPUTS,
        first=True,
        choices=("text", *PATTERNED, "table", "upload"),
        help="Where query, key and value come from: your own text, a made-up pattern, a table of numbers, or a file.",
    )
    text: str = setting(
        SENTENCE,
        group=INPUTS,
        first=True,
        max_chars=MAX_TEXT,
        lines=3,
        help="Cut into words and punctuation; each distinct token gets its own random vector. "
        "Each line is one item of the batch.",
    )
    key_text: str = setting(
        "",
        group=INPUTS,
        max_chars=MAX_TEXT,
        lines=2,
        label="key_text (cross-attention)",
        help="Text for key and value, when they are not the query: then the layer does cross-attention. "
        "Empty: self-attention.",
    )
    positions: bool = setting(
        True,
        group=INPUTS,
        label="add positions",
        help="Add sinusoidal positions (Vaswani et al. 2017) to the vectors of the text, so that order matters.",
    )
    table: str = setting(
        "",
        group=INPUTS,
        first=True,
        max_chars=MAX_TEXT,
        lines=5,
        help="Numbers for the query, one token a line, embed_dim numbers each; the first column may hold a label.",
    )
    key_table: str = setting(
        "", group=INPUTS, max_chars=MAX_TEXT, lines=3, help="Numbers for the key. Empty: the key is the query."
    )
    value_table: str = setting(
        "", group=INPUTS, max_chars=MAX_TEXT, lines=3, help="Numbers for the value. Empty: the value is the key."
    )
    query_file: str = setting(
        "", group=INPUTS, first=True, help="The uploaded file (and its tensor) that is the query."
    )
    key_file: str = setting("", group=INPUTS, help="The uploaded file that is the key. Empty: the key is the query.")
    value_file: str = setting("", group=INPUTS, help="The uploaded file that is the value. Empty: it is the key.")
    query_len: int | None = setting(
        None,
        group=INPUTS,
        low=1,
        high=MAX_LEN,
        help="L, how many query tokens there are. Empty: as many as the text, table or file has, else 16. "
        "A text is cut or repeated to fit.",
    )
    key_len: int | None = setting(
        None,
        group=INPUTS,
        low=1,
        high=MAX_LEN,
        help="S, how many key tokens there are; a number here means cross-attention. Empty: the key is the query.",
    )
    batch_size: int | None = setting(
        None,
        group=INPUTS,
        low=1,
        high=4_096,
        help="N, how many items are in the batch. Empty: one for each line of the text, else 1.",
    )
    unbatched: bool = setting(
        False, group=INPUTS, help="Hand the module query [L, E] without a batch dimension, which it accepts too."
    )
