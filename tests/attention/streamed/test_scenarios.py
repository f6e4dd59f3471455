"""Which Scenarios can be streamed."""

from __future__ import annotations

import pytest
import torch

import mha_viz as mv
from mha_viz.attention.streamed import streamed
from mha_viz.errors import ScenarioError


def test_dropout_is_refused_in_train_mode_only() -> None:
    s = mv.Scenario(query_len=8, dropout=0.5, training=True)
    with pytest.raises(ScenarioError) as refused:
        streamed(s)
    assert refused.value.field == "dropout"
    assert str(refused.value) == (
        "a long sequence is shown without dropout, but train mode drops 0.5 of the weights at random: "
        "set training=False or dropout=0."
    )
    assert streamed(mv.Scenario(query_len=8, dropout=0.5)).shape == (1, 4, 8, 8)
    assert streamed(mv.Scenario(query_len=8, training=True)).shape == (1, 4, 8, 8)


def test_stacks_are_refused() -> None:
    with pytest.raises(ScenarioError) as refused:
        streamed(mv.Scenario(stack="encoder"))
    assert str(refused.value) == "a long sequence is shown for one layer, so stack must be 'attention', not 'encoder'."
    assert refused.value.field == "stack"


def test_tensors_of_ones_own_are_taken() -> None:
    inputs = mv.Inputs.of(torch.randn(2, 30, 64))
    s = mv.Scenario(batch_size=2, query_len=30)
    expected = mv.run(s, inputs).layers[0].weights
    found = streamed(s, inputs).window(3, slice(None), slice(None), 1)
    torch.testing.assert_close(found, expected[1, 3], atol=1e-6, rtol=0)


@pytest.mark.parametrize("unbatched", [False, True])
def test_the_layout_of_the_call_does_not_matter(unbatched: bool) -> None:
    s = mv.Scenario(source="normal", query_len=30, batch_first=unbatched, unbatched=unbatched)
    found = streamed(s).window(0, slice(None), slice(None))
    torch.testing.assert_close(found, mv.run(s).layers[0].weights[0, 0], atol=1e-6, rtol=0)
