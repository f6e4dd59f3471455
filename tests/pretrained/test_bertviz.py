"""bertviz, given the built-in model's attention, holds the numbers that our Run holds."""

from __future__ import annotations

import json
import re

import pytest
import torch
import transformers

from mha_viz.pretrained import Reading, read

bertviz = pytest.importorskip("bertviz", reason="bertviz is not installed")

TEXT = "The animal didn't cross the street because it was too tired."


def _data(html):
    """Return what bertviz wrote into its page: weights of [layer, head, query, key] and the tokens."""
    found = re.search(r"const params = (\{.*?\});", html.data)
    return json.loads(found[1])["attention"][0]


# bertviz leaves the files of its scripts open.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("view", ["head_view", "model_view"])
def test_bertviz_is_given_the_same_numbers(minilm, tokenizer, view):
    model = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager", local_files_only=True).eval()
    given = tokenizer(TEXT, return_tensors="pt")
    with torch.no_grad():
        attention = model(**given, output_attentions=True).attentions
    tokens = tokenizer.convert_ids_to_tokens(given["input_ids"][0])
    shown = _data(getattr(bertviz, view)(attention, tokens, html_action="return"))

    run = read(Reading(model="built-in", model_text=TEXT))
    ours = torch.stack([layer.weights[0] for layer in run.layers])  # [layers, H, L, S]
    theirs = torch.tensor(shown["attn"], dtype=torch.float64)
    assert theirs.shape == (6, 12, len(tokens), len(tokens))
    assert torch.equal(ours.double(), theirs)  # JSON holds every digit of a float32
    assert tuple(shown["left_text"]) == tuple(shown["right_text"]) == run.query_tokens(0)
