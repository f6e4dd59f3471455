"""Text to what a model of text is given: token ids, padded to one length, and a readable label for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mha_viz.errors import InputError
from mha_viz.inputs.assemble import PAD, Tokens

MAX_TOKENS = 512
SPACE, LINE_END = "▁", "↵"


@dataclass(frozen=True, eq=False)
class Side:
    """What the encoder or the decoder reads, on the CPU.

    Attributes:
        ids: [N, L] token ids.
        types: [N, L] of which sentence of a pair a token is, or None.
        padding: Bool [N, L], True where an item has ended.
        tokens: N tuples of L labels.
        special: Labels of tokens that stand for no text, in order of appearance, padding included.
    """

    ids: Tensor
    types: Tensor | None
    padding: Tensor
    tokens: Tokens
    special: tuple[str, ...]


def lines_of(text: str, field: str) -> list[str]:
    """Return the lines of a text that are not blank.

    Raises:
        InputError: There is none.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{field} must hold some text, but it is empty.", field=field)
    return lines


def pairs_of(lines: list[str], text: str) -> list[str | None]:
    """Return the second text of each line: one for each, one for all, or none.

    Raises:
        InputError: There is another number of them.
    """
    second = [line for line in text.splitlines() if line.strip()]
    if len(second) in (0, 1):
        return [second[0] if second else None] * len(lines)
    if len(second) != len(lines):
        raise InputError(
            f"model_text_2 must have one line, or as many as model_text, which has {len(lines)}, not {len(second)}.",
            field="model_text_2",
        )
    return list(second)


def tokenised(tokenizer: Any, lines: list[str], seconds: list[str | None], limit: int) -> Side:
    """Return lines, each alone or with a second text, as a model's tokenizer cuts them, padded at the end.

    Raises:
        InputError: A line has more tokens than `limit`, or none.
    """
    options = {"return_special_tokens_mask": True, "return_attention_mask": False, "verbose": False}
    cut = [tokenizer(line, second, **options) for line, second in zip(lines, seconds, strict=True)]
    for number, encoded in enumerate(cut, start=1):
        if not 0 < (count := len(encoded["input_ids"])) <= limit:
            raise InputError(
                f"Line {number} of the text must have 1 to {limit} tokens, not {count:,}.", field="model_text"
            )
    types = [encoded["token_type_ids"] for encoded in cut] if "token_type_ids" in cut[0] else None
    special = [[bool(flag) for flag in encoded["special_tokens_mask"]] for encoded in cut]
    ids = [encoded["input_ids"] for encoded in cut]
    return side(tokenizer, ids, special, None if types is None else _padded(types, tokenizer.pad_token_type_id))


def side(tokenizer: Any, ids: list[list[int]], special: list[list[bool]], types: Tensor | None = None) -> Side:
    """Return token ids as a batch; a tokenizer without a padding token pads with id 0, which the mask hides."""
    padding = _padded([[0] * len(item) for item in ids], 1).bool()
    pad = tokenizer.pad_token or PAD
    length = padding.shape[1]
    named = [
        [label(tokenizer, i, flag) for i, flag in zip(*item, strict=True)] for item in zip(ids, special, strict=True)
    ]
    marks = [
        name
        for names, flags in zip(named, special, strict=True)
        for name, flag in zip(names, flags, strict=True)
        if flag
    ]
    return Side(
        ids=_padded(ids, tokenizer.pad_token_id or 0),
        types=types,
        padding=padding,
        tokens=tuple((*names, *[pad] * (length - len(names))) for names in named),
        special=tuple(dict.fromkeys([*marks, *[pad] * bool(padding.any())])),
    )


def _padded(rows: list[list[int]], value: int) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def label(tokenizer: Any, token_id: int, special: bool = False) -> str:
    """Return how a token is shown: as the tokenizer names it, but with its bytes as text and spaces as `▁`.

    `##` of WordPiece and `▁` of SentencePiece stay. A byte-level token that is only part of a character keeps its name.
    """
    token = str(tokenizer.convert_ids_to_tokens(token_id))
    if special or not _is_byte_level(tokenizer):
        return token
    text = tokenizer.convert_tokens_to_string([token])
    return token if "\ufffd" in text or not text else text.replace(" ", SPACE).replace("\n", LINE_END)


def _is_byte_level(tokenizer: Any) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend is not None and "ByteLevel" in str(backend.decoder)
