"""The user's tokens on the axes that they fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mha_viz.attention.capture import Captured, capture
from mha_viz.errors import InputError

N, E, H = 2, 8, 2


def encoded(length: int = 5, items: list[int] | None = None) -> Captured:
    model = nn.MultiheadAttention(E, H, batch_first=True, add_zero_attn=True)
    x = torch.zeros(N, length, E)
    with capture(model, items=items) as captured:
        model(x, x, x)
    return captured


def translated(length: int, keys: int) -> Captured:
    model = nn.Transformer(E, H, 2, 2, 16, batch_first=True)
    torch.manual_seed(0)
    with capture(model) as captured:
        for _ in range(2):
            model(torch.randn(N, keys, E), torch.randn(N, length, E))
    return captured


def test_one_list_for_all_items() -> None:
    run = encoded().run(tokens=list("abcde"))
    assert run.query_tokens(1) == tuple("abcde")
    assert run.key_tokens(0) == (*"abcde", "zero")


def test_a_list_for_each_item() -> None:
    run = encoded().run(tokens=[list("abcde"), list("vwxyz")])
    assert run.query_tokens(1) == tuple("vwxyz")
    chosen = encoded(items=[1]).run(tokens=[list("abcde"), list("vwxyz")])
    assert chosen.query_tokens(0) == tuple("vwxyz")


def test_numbers_where_there_are_no_tokens() -> None:
    assert encoded(3).run().query_tokens() == ("0", "1", "2")


@pytest.mark.parametrize("keys", [4, 5], ids=["of other lengths", "of equal lengths"])
def test_encoder_decoder_and_what_lies_between(keys: int) -> None:
    source, target = tuple("vwxyz"[:keys]), tuple("abcde")
    run = translated(5, keys).run(tokens=target, memory_tokens=source)
    assert len(run.layers) == 12
    for layer in run.layers:
        kind = layer.name.split(" ")[0].split(".")
        query = source if kind[0] == "encoder" else target
        key = target if kind[0] == "decoder" and kind[-1] == "self_attn" else source
        assert (layer.query_tokens[0], layer.key_tokens[0]) == (query, key), layer.name


def test_only_one_of_two_sequences() -> None:
    run = translated(5, 5).run(tokens=list("abcde"))
    cross = next(layer for layer in run.layers if "multihead" in layer.name)
    assert cross.query_tokens[0] == tuple("abcde")
    assert cross.key_tokens is None
    run = translated(5, 4).run(memory_tokens=list("wxyz"))
    assert run.layers[0].query_tokens[0] == tuple("wxyz")
    assert run.layers[2].query_tokens is None


REFUSED: dict[str, tuple[Any, str]] = {
    "too few": (["a", "b"], "tokens must be as many as the queries or keys of a layer: 5, not 2."),
    "items too many": (
        [list("abcde")] * 3,
        "tokens must hold a list for each batch item, N = 2, not 3 lists.",
    ),
    "ragged": (
        [list("abcde"), list("abc")],
        "tokens must be as many for every batch item, padding included, not [3, 5].",
    ),
    "a string": (
        "abcde",
        "tokens must be a list of strings, or one such list for each batch item, not 'abcde'.",
    ),
    "empty": ([], "tokens must be a list of strings, or one such list for each batch item, not []."),
    "mixed": (
        ["a", ["b"]],
        "tokens must be a list of strings, or one such list for each batch item, not ['a', ['b']].",
    ),
}


@pytest.mark.parametrize(("tokens", "message"), REFUSED.values(), ids=REFUSED)
def test_tokens_that_do_not_fit(tokens: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        encoded().run(tokens=tokens)
    assert str(caught.value) == message
    if isinstance(tokens, list):
        with pytest.raises(InputError, match="memory_tokens must"):
            encoded().run(memory_tokens=tokens)
