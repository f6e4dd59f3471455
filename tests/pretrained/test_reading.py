"""Text into pretrained models: the weights are the model's own, with the masks that it really used."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from mha_viz import settings
from mha_viz.errors import CapacityError, DeviceError, InputError, ScenarioError
from mha_viz.pretrained import Reading, read

TWO_LINES = "The cat sat on the mat.\nHello tokenization"


@pytest.fixture(scope="module")
def own(minilm, tokenizer):
    """The built-in model's own answer to two lines, by transformers alone."""
    model = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager", local_files_only=True).eval()
    given = tokenizer(TWO_LINES.splitlines(), padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**given, output_attentions=True, output_hidden_states=True)


@pytest.fixture(scope="module")
def run(minilm):
    return read(Reading(model="built-in", model_text=TWO_LINES))


def test_the_built_in_models_weights_are_its_own_bit_for_bit(run, own):
    assert [tuple(layer.weights.shape) for layer in run.layers] == [(2, 12, 9, 9)] * 6
    for layer, weights in zip(run.layers, own.attentions, strict=True):
        assert torch.equal(layer.weights, weights)
        assert layer.how == "softmax"
        assert layer.passed is None
    assert [layer.name for layer in run.layers] == [f"encoder.layer.{i}.attention.self" for i in range(6)]
    assert (run.name, run.dtype, run.inputs, run.scenario) == ("all-MiniLM-L6-v2", "float32", None, None)


def test_padding_is_recorded_as_the_module_takes_it_and_nothing_leaks(run):
    for layer in run.layers:
        assert layer.attn_mask is None
        assert layer.key_padding_mask.tolist() == [[False] * 9, [False] * 5 + [True] * 4]
        assert not (layer.weights * ~layer.allowed).any()


def test_tokens_are_named_by_the_tokenizer_and_special_ones_are_told(run):
    assert run.query_tokens(0) == ("[CLS]", "the", "cat", "sat", "on", "the", "mat", ".", "[SEP]")
    assert run.key_tokens(1, 5) == ("[CLS]", "hello", "token", "##ization", "[SEP]", *["[PAD]"] * 4)
    assert run.notes == ("Special tokens, which stand for no text: [CLS] [SEP] [PAD]",)


def test_the_residual_norms_are_those_of_the_hidden_states(run, own):
    assert [name for name, _ in run.norms] == ["embeddings", *(f"block {i}" for i in range(1, 6)), "output"]
    for (_, norms), states in zip(run.norms, own.hidden_states, strict=True):
        np.testing.assert_allclose(norms.numpy(), np.linalg.norm(states.numpy(), axis=-1), rtol=1e-5)


def test_each_layer_can_be_opened_as_a_module_with_the_same_numbers(run, own):
    for index, layer in enumerate(run.layers):
        assert torch.equal(layer.call.query, own.hidden_states[index])
        assert layer.call.key is layer.call.query is layer.call.value
        output, weights = layer.call.module(
            layer.call.query, layer.call.key, layer.call.value, layer.key_padding_mask, average_attn_weights=False
        )
        assert (weights - layer.weights).abs().max() <= 1e-5
        assert (output - layer.output).abs().max() <= 1e-4


def test_the_second_text_makes_pairs_for_an_encoder(minilm, tokenizer):
    run = read(Reading(model="built-in", model_text="one\ntwo", model_text_2="three"))
    assert run.query_tokens(1) == ("[CLS]", "two", "[SEP]", "three", "[SEP]")
    model = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager", local_files_only=True).eval()
    with torch.no_grad():
        own = model(**tokenizer("two", "three", return_tensors="pt"), output_attentions=True).attentions[0]
    assert (run.layers[0].weights[1] - own[0]).abs().max() <= 1e-6  # alone instead of in a batch of two


def test_hooks_are_gone_and_a_second_reading_uses_the_same_model(run):
    again = read(Reading(model="built-in", model_text=TWO_LINES))
    assert again.layers[0].call.module is run.layers[0].call.module
    assert torch.equal(again.layers[3].weights, run.layers[3].weights)


@pytest.mark.parametrize("name", ["gpt2", "openai-gpt"])
def test_a_decoder_has_its_causal_mask_beside_the_padding(saved, name):
    run = read(Reading(model=saved(name), model_text="one two three four\nfive"))
    for layer in run.layers:
        length = layer.weights.shape[-1]
        assert torch.equal(layer.attn_mask, torch.ones(length, length).triu(1).bool())
        assert torch.equal(layer.key_padding_mask[1], torch.arange(length) >= 3)
        assert torch.equal(layer.allowed.expand_as(layer.weights), layer.weights > 0)


def test_the_packed_projections_of_gpt2_open_too(saved):
    run = read(Reading(model=saved("gpt2"), model_text="one two three four\nfive"))
    for layer in run.layers:
        call = layer.call
        masks = {"attn_mask": layer.attn_mask, "key_padding_mask": layer.key_padding_mask}
        output, weights = call.module(call.query, call.key, call.value, average_attn_weights=False, **masks)
        assert (weights - layer.weights).abs().max() <= 1e-5
        assert (output - layer.output).abs().max() <= 1e-4


def test_a_sliding_window_is_recorded_as_the_model_applies_it(saved):
    run = read(Reading(model=saved("mistral"), model_text="one two three four five"))
    distance = torch.arange(7)[:, None] - torch.arange(7)
    for layer in run.layers:
        assert torch.equal(layer.attn_mask, (distance < 0) | (distance >= 3))
        assert layer.key_padding_mask is None
        assert torch.equal(layer.allowed.expand_as(layer.weights), layer.weights > 0)
        assert layer.call is None  # its positions rotate, which nn.MultiheadAttention does not do


@pytest.mark.parametrize("name", ["bart", "t5"])
def test_an_encoder_decoder_lists_its_layers_in_call_order(saved, name):
    run = read(Reading(model=saved(name), model_text="one two three\nfour", model_text_2="five six"))
    shapes = [tuple(layer.weights.shape[2:]) for layer in run.layers]
    assert shapes == [(5, 5), (5, 5), (4, 4), (4, 5), (4, 4), (4, 5)]
    assert [layer.name.split(".")[0] for layer in run.layers] == ["encoder"] * 2 + ["decoder"] * 4
    for layer in run.layers:
        assert torch.equal(layer.allowed.expand_as(layer.weights), layer.weights > 0)
    start = {"bart": "[SEP]", "t5": "[PAD]"}[name]
    assert run.query_tokens(0, 2) == (start, "[CLS]", "five", "six")
    assert run.key_tokens(1, 3) == ("[CLS]", "four", "[SEP]", "[PAD]", "[PAD]")


def test_an_encoder_decoder_gives_the_models_own_weights_and_cross_attention_opens(saved, tokenizer):
    run = read(Reading(model=saved("bart"), model_text="one two three", model_text_2="five six"))
    model = transformers.AutoModel.from_pretrained(saved("bart"), attn_implementation="eager").eval()
    decoder_ids = torch.tensor([[102, *tokenizer("five six")["input_ids"][:-1]]])
    with torch.no_grad():
        own = model(**tokenizer("one two three", return_tensors="pt", return_token_type_ids=False),
                    decoder_input_ids=decoder_ids, output_attentions=True)  # fmt: skip
    theirs = [*own.encoder_attentions, own.decoder_attentions[0], own.cross_attentions[0], own.decoder_attentions[1]]
    for layer, weights in zip(run.layers, [*theirs, own.cross_attentions[1]], strict=True):
        assert torch.equal(layer.weights, weights)
        assert layer.call is not None
    assert torch.equal(run.layers[3].call.key, own.encoder_last_hidden_state)


def test_without_a_second_text_the_decoder_reads_the_first(saved):
    run = read(Reading(model=saved("bart"), model_text="one two\nthree four"))
    assert run.query_tokens(1, 2) == ("[SEP]", "[CLS]", "three", "four")


def test_a_model_without_attention_is_refused(saved):
    with pytest.raises(InputError, match=r"^mamba returns no attention weights of the form \[N, H, L, S\]\.$"):
        read(Reading(model=saved("mamba"), model_text="one"))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"model": ""}, "No model was given: choose built-in, a folder, or a name on the hub."),
        ({"model_text": " \n "}, "model_text must hold some text, but it is empty."),
        ({"model_text": "a " * 600}, "Line 1 of the text must have 1 to 512 tokens, not 602."),
        (
            {"model_text": "a\nb\nc", "model_text_2": "a\nb"},
            "model_text_2 must have one line, or as many as model_text, which has 3, not 2.",
        ),
    ],
)
def test_what_cant_be_read_is_refused_in_a_sentence(minilm, given, sentence):
    with pytest.raises(InputError) as refused:
        read(Reading(**{"model": "built-in", **given}))
    assert str(refused.value) == sentence


def test_a_model_that_takes_fewer_tokens_says_so(saved):
    with pytest.raises(InputError, match=r"^Line 2 of the text must have 1 to 64 tokens, not 102\.$"):
        read(Reading(model=saved("gpt2"), model_text="a\n" + "a " * 100))


def test_a_forward_that_would_not_fit_is_refused_before_it_runs(minilm, monkeypatch):
    read(Reading(model="built-in", model_text="a"))
    monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "10")
    sentence = (
        "Weights [1, 12, 302, 302] in each layer of all-MiniLM-L6-v2 would need about 39.4 MB, more than the limit of "
        "10.5 MB: give fewer or shorter lines, or raise MHA_VIZ_MEMORY_LIMIT_MB."
    )
    with pytest.raises(CapacityError) as refused:
        read(Reading(model="built-in", model_text="a " * 300))
    assert str(refused.value) == sentence


def test_a_device_that_is_not_there_is_refused(minilm):
    with pytest.raises(DeviceError, match=r"^device 'cuda:9' is not on this machine"):
        read(Reading(model="built-in"), device="cuda:9")


@pytest.mark.gpu
def test_on_a_gpu_the_numbers_are_those_of_the_cpu(minilm):
    on_gpu, on_cpu = (read(Reading(model="built-in", model_text=TWO_LINES), device=d) for d in ("auto", "cpu"))
    assert on_gpu.device != on_cpu.device == "cpu"
    for ours, theirs in zip(on_gpu.layers, on_cpu.layers, strict=True):
        assert ours.weights.device.type == on_gpu.device.partition(":")[0]
        assert (ours.weights.cpu() - theirs.weights).abs().max() <= 1e-4
        assert ours.call is not None


def test_a_reading_goes_into_a_link_and_back():
    reading = Reading(model="built-in", model_text="a b\nc", model_text_2="d")
    query = settings.to_query(reading)
    assert query == "model=built-in&model_text=a+b%0Ac&model_text_2=d"
    assert Reading(**settings.read_query(Reading, query).values) == reading
    with pytest.raises(ScenarioError, match="model_text may have at most 10,000 characters"):
        Reading(model_text="a" * 10_001)
