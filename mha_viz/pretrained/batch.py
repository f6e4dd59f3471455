"""The text of a Reading as the arguments of a model's forward, for one stack or for an encoder and a decoder."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mha_viz.pretrained.forward import Sequence
from mha_viz.pretrained.loading import Loaded
from mha_viz.pretrained.text import MAX_TOKENS, Side, lines_of, pairs_of, side, tokenised


@dataclass(frozen=True, eq=False)
class Batch:
    """What a model of text is given.

    Attributes:
        arguments: Of its forward, on its device.
        sequences: What "source" and, in an encoder-decoder, "target" hold.
        special: Labels of the tokens that stand for no text.
    """

    arguments: dict[str, Tensor]
    sequences: dict[str, Sequence]
    special: tuple[str, ...]


def batch(loaded: Loaded, first: str, second: str) -> Batch:
    """Return two texts as a batch; for an encoder-decoder the second is the decoder's, else that of pairs.

    Raises:
        InputError: A text is empty or too long, or the two have different numbers of lines.
    """
    lines = lines_of(first, "model_text")
    limit = _limit(loaded)
    config: Any = loaded.model.config
    if not getattr(config, "is_encoder_decoder", False):
        sides = {"source": tokenised(loaded.tokenizer, lines, pairs_of(lines, second), limit)}
    else:
        theirs = [own or line for own, line in zip(pairs_of(lines, second), lines, strict=True)]
        sides = {"source": tokenised(loaded.tokenizer, lines, [None] * len(lines), limit)}
        sides["target"] = _shifted(loaded, tokenised(loaded.tokenizer, theirs, [None] * len(lines), limit))
    return Batch(
        arguments=_arguments(loaded, sides),
        sequences={name: Sequence(len(lines), s.tokens, s.padding.to(loaded.device)) for name, s in sides.items()},
        special=tuple(dict.fromkeys(token for s in sides.values() for token in s.special)),
    )


def _limit(loaded: Loaded) -> int:
    """Return the most tokens that an item may have: what the model can read, and what the page can show."""
    config: Any = loaded.model.config
    known = (loaded.tokenizer.model_max_length, getattr(config, "max_position_embeddings", None))
    return min([MAX_TOKENS, *(int(number) for number in known if number and number > 0)])


def _shifted(loaded: Loaded, text: Side) -> Side:
    """Return what the decoder reads while it is to say a text: a start token, then all but the text's last token."""
    config: Any = loaded.model.config
    start = getattr(config, "decoder_start_token_id", None)
    if start is None:
        return text
    lengths = (~text.padding).sum(dim=1).tolist()
    ids = [[start, *row[: length - 1]] for row, length in zip(text.ids.tolist(), lengths, strict=True)]
    marks = set(loaded.tokenizer.all_special_ids)
    return side(loaded.tokenizer, ids, [[i in marks for i in row] for row in ids])


def _arguments(loaded: Loaded, sides: dict[str, Side]) -> dict[str, Tensor]:
    given: dict[str, Tensor | None] = {}
    for name, prefix in (("source", ""), ("target", "decoder_")):
        if name in sides:
            given[f"{prefix}input_ids"] = sides[name].ids
            given[f"{prefix}attention_mask"] = (~sides[name].padding).long()
    given["token_type_ids"] = sides["source"].types
    taken = inspect.signature(loaded.model.forward).parameters
    return {name: tensor.to(loaded.device) for name, tensor in given.items() if tensor is not None and name in taken}
