"""Pretrained layers as nn.MultiheadAttention: the proof on the built-in model, and what is refused."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from mha_viz.errors import InputError
from mha_viz.pretrained import as_multihead_attention


@pytest.fixture(scope="module")
def bert(minilm):
    return transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager", local_files_only=True).eval()


@pytest.fixture(scope="module")
def own(bert, tokenizer):
    given = tokenizer(["The animal was too tired.", "Yes"], padding=True, return_tensors="pt")
    with torch.no_grad():
        return given["attention_mask"] == 0, bert(**given, output_attentions=True, output_hidden_states=True)


@pytest.mark.parametrize("index", range(6))
def test_a_layers_weights_in_a_fresh_module_give_the_models_attention(bert, own, index):
    """Copied by hand, without this package: the numbers that everything else here is compared with."""
    padding, outputs = own
    attention = bert.encoder.layer[index].attention
    mha = nn.MultiheadAttention(384, 12, batch_first=True).eval()
    maps = [attention.self.query, attention.self.key, attention.self.value]
    with torch.no_grad():
        mha.in_proj_weight.copy_(torch.cat([part.weight for part in maps]))
        mha.in_proj_bias.copy_(torch.cat([part.bias for part in maps]))
        mha.out_proj.load_state_dict(attention.output.dense.state_dict())
        x = outputs.hidden_states[index]
        output, weights = mha(x, x, x, key_padding_mask=padding, average_attn_weights=False)
    assert (weights - outputs.attentions[index]).abs().max() <= 1e-5
    ours = as_multihead_attention(attention)
    assert (ours.embed_dim, ours.num_heads, ours.training) == (384, 12, False)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), mha.parameters(), strict=True))
    with torch.no_grad():
        after = attention.output.LayerNorm(output + x)
        expected = bert.encoder.layer[index].attention(x, attention_mask=_added(padding))[0]
    assert (after - expected).abs().max() <= 1e-4


def _added(padding):
    return torch.zeros(padding.shape).masked_fill(padding, torch.finfo(torch.float32).min)[:, None, None]


def test_the_whole_layer_will_do_and_random_numbers_are_left_alone(bert):
    state = torch.random.get_rng_state()
    of_layer = as_multihead_attention(bert.encoder.layer[0])
    assert torch.equal(of_layer.in_proj_weight, as_multihead_attention(bert.encoder.layer[0].attention).in_proj_weight)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("kdim", [8, 6])
def test_a_bias_that_only_some_maps_have_is_zero_in_the_others(kdim):
    maps = {"q_proj": nn.Linear(8, 8), "k_proj": nn.Linear(kdim, 8, bias=False), "v_proj": nn.Linear(8, 8)}
    layer = nn.ModuleDict({**maps, "out_proj": nn.Linear(8, 8)})
    mha = as_multihead_attention(layer, num_heads=2)
    query, key, value = torch.randn(1, 3, 8), torch.randn(1, 5, kdim), torch.randn(1, 5, 8)
    _, weights = mha(query, key, value, average_attn_weights=False)
    q, k = (layer[name](x).unflatten(-1, (2, 4)).transpose(1, 2) for name, x in (("q_proj", query), ("k_proj", key)))
    expected = (q @ k.mT / 2).softmax(dim=-1)
    assert (weights - expected).abs().max() <= 1e-6


def _four(**changed):
    return nn.ModuleDict({**{name: nn.Linear(8, 8) for name in ("query", "key", "value", "dense")}, **changed})


@pytest.mark.parametrize(
    ("layer", "heads", "sentence"),
    [
        (nn.Linear(8, 8), 2, "The layer must hold one query projection, called query, q_proj, q_lin, q, "
         "but it holds 0."),
        (nn.ModuleList([_four(), _four()]), 2, "The layer must hold one query projection, called query, q_proj, q_lin, "
         "q, but it holds 2."),
        (_four(), None, "The layer does not say how many heads it has: give num_heads."),
        (_four(), 3, "A layer of nn.MultiheadAttention needs projections [E, E] with E = H · D, not query of shape "
         "(8, 8) with 3 heads."),
        (_four(key=nn.Linear(8, 4)), 2, "A layer of nn.MultiheadAttention needs projections [E, E] with E = H · D, not "
         "key of shape (4, 8) with 2 heads."),
    ],
)  # fmt: skip
def test_what_is_no_such_layer_is_refused(layer, heads, sentence):
    with pytest.raises(InputError) as refused:
        as_multihead_attention(layer, heads)
    assert str(refused.value) == sentence
