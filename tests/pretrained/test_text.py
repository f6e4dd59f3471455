"""Tokens as they are shown, and texts as they are padded."""

from __future__ import annotations

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mha_viz.pretrained.text import label, tokenised


@pytest.fixture(scope="module")
def byte_level():
    """A tokenizer like that of GPT-2, which knows whole words of two lines and else single bytes."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["<|end|>"])
    made.train_from_iterator(["the cat sat", "the cat ate é"] * 20, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")


def _labels(tokenizer, text):
    return [label(tokenizer, i) for i in tokenizer(text)["input_ids"]]


def test_byte_level_tokens_are_shown_as_text_with_a_mark_for_a_space(byte_level):
    assert byte_level.convert_ids_to_tokens(byte_level("the cat")["input_ids"]) == ["the", "Ġcat"]
    assert _labels(byte_level, "the cat ate é") == ["the", "▁cat", "▁ate", "▁é"]
    assert _labels(byte_level, "\n") == ["↵"]


def test_part_of_a_character_keeps_its_name(byte_level):
    assert _labels(byte_level, "日") == byte_level.convert_ids_to_tokens(byte_level("日")["input_ids"])
    assert "\ufffd" not in "".join(_labels(byte_level, "日"))


def test_word_pieces_keep_their_marks(tokenizer):
    assert _labels(tokenizer, "tokenization <b>") == ["[CLS]", "token", "##ization", "<", "b", ">", "[SEP]"]


def test_a_tokenizer_without_padding_token_pads_behind_a_mask(byte_level):
    assert byte_level.pad_token is None
    side = tokenised(byte_level, ["the cat sat", "the"], [None, None], limit=8)
    assert side.tokens == (("the", "▁cat", "▁sat"), ("the", "<pad>", "<pad>"))
    assert side.padding.tolist() == [[False] * 3, [False, True, True]]
    assert side.ids[1, 1:].tolist() == [0, 0]
    assert side.special == ("<pad>",)


def test_padding_stands_at_the_end_whatever_the_tokenizer_prefers(tokenizer):
    left = type(tokenizer).from_pretrained(tokenizer.name_or_path, padding_side="left")
    side = tokenised(left, ["the cat", "the"], ["a", "a"], limit=8)
    assert side.tokens[1] == ("[CLS]", "the", "[SEP]", "a", "[SEP]", "[PAD]")
    own = tokenizer(["the cat", "the"], ["a", "a"], padding=True, return_tensors="pt")
    assert torch.equal(side.ids, own["input_ids"])
    assert torch.equal(side.types, own["token_type_ids"])
    assert torch.equal(~side.padding, own["attention_mask"].bool())
