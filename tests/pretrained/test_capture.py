"""Capturing a pretrained model that computes its attention by F.scaled_dot_product_attention."""

from __future__ import annotations

import pytest
import torch
import transformers

from mha_viz.attention.capture import capture
from mha_viz.pretrained import Reading, read

TEXT = "The cat sat on the mat.\nHello tokenization"


def test_captured_through_sdpa_the_built_in_models_weights_are_the_explicit_ones(minilm, tokenizer):
    model = transformers.AutoModel.from_pretrained(minilm, attn_implementation="sdpa", local_files_only=True).eval()
    given = tokenizer(TEXT.splitlines(), padding=True, return_tensors="pt")
    with capture(model) as captured, torch.no_grad():
        model(**given)
    run = captured.run()
    explicit = read(Reading(model="built-in", model_text=TEXT))
    assert len(run.layers) == len(explicit.layers) == 6
    for ours, theirs in zip(run.layers, explicit.layers, strict=True):
        assert ours.name == theirs.name
        assert ours.how == "function"
        real = ~theirs.key_padding_mask  # [N, L]: what padding itself attends to may differ
        difference = (ours.weights - theirs.weights).abs().amax(dim=(1, 3))
        assert difference[real].max() <= 1e-5


@pytest.mark.parametrize("way", ["sdpa", "eager"])
def test_a_small_vit_is_captured_however_it_computes_its_attention(saved, way):
    explicit = transformers.AutoModel.from_pretrained(saved("vit"), attn_implementation="eager").eval()
    model = transformers.AutoModel.from_pretrained(saved("vit"), attn_implementation=way).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        own = explicit(pixels, output_attentions=True).attentions
        before = model(pixels).last_hidden_state
        with capture(model) as captured:
            after = model(pixels).last_hidden_state
    run = captured.run()
    assert torch.equal(before, after)
    assert {layer.how for layer in run.layers} == {"function" if way == "sdpa" else "softmax"}
    for ours, theirs in zip(run.layers, own, strict=True):
        assert (ours.weights - theirs).abs().max() <= 1e-6
