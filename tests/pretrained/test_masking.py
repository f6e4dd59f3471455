"""What a model hid, read off the mask that it was given or off its weights."""

from __future__ import annotations

import pytest
import torch

from mha_viz.pretrained.masking import module_masks

LOWEST = torch.finfo(torch.float32).min
PADDING = torch.tensor([[False] * 4, [False, False, False, True]])
CAUSAL = torch.ones(4, 4).triu(1).bool()


def _weights(hidden):
    return torch.zeros(2, 3, 4, 4).masked_fill(hidden, -torch.inf).softmax(dim=-1)


@pytest.mark.parametrize("form", ["added", "bool", "infinite"])
@pytest.mark.parametrize(("attn", "padding"), [(None, PADDING), (CAUSAL, PADDING), (CAUSAL, None), (None, None)])
def test_a_mask_is_taken_apart_into_what_the_module_takes(form, attn, padding):
    by_mask = torch.zeros(4, 4, dtype=torch.bool) if attn is None else attn
    by_padding = torch.zeros(2, 4, dtype=torch.bool) if padding is None else padding
    hidden = (by_mask | by_padding[:, None])[:, None]  # [N, 1, L, S]
    number = LOWEST if form == "added" else -torch.inf
    given = ~hidden if form == "bool" else torch.zeros(2, 1, 4, 4).masked_fill(hidden, number)
    found = module_masks({"attention_mask": given}, PADDING if padding is not None else None, _weights(hidden))
    for ours, theirs in zip(found, (attn, padding), strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)


def test_a_mask_that_differs_between_items_or_heads_is_recorded_for_each():
    hidden = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.3
    attn_mask, padding = module_masks({"mask": ~hidden}, None, _weights(hidden))
    assert torch.equal(attn_mask, hidden.reshape(6, 4, 4))
    assert padding is None


def test_padding_that_the_model_does_not_hide_is_not_called_hidden():
    given = torch.zeros(2, 1, 4, 4)
    assert module_masks({"attention_mask": given}, PADDING, _weights(given.bool())) == (None, None)
    assert module_masks({}, PADDING, _weights(given.bool())) == (None, None)


def test_a_longer_cache_is_cut_to_the_keys():
    given = torch.zeros(2, 1, 4, 9).masked_fill(torch.ones(4, 9).triu(1).bool(), LOWEST)
    attn_mask, _ = module_masks({"attention_mask": given}, None, _weights(CAUSAL))
    assert torch.equal(attn_mask, CAUSAL)


def test_without_a_mask_exact_zeros_tell_causal_and_padding():
    attn_mask, padding = module_masks({}, PADDING, _weights(CAUSAL | PADDING[:, None, None]))
    assert torch.equal(attn_mask, CAUSAL)
    assert torch.equal(padding, PADDING)
    assert module_masks({}, None, torch.ones(1, 1, 1, 1)) == (None, None)
