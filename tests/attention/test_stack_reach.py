"""Reach through whole stacks, against what masks of several layers add up to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mha_viz as mv
from mha_viz.attention import stack
from mha_viz.attention.reach import reach
from mha_viz.attention.stack_reach import reach_of
from mha_viz.inputs.assemble import build
from mha_viz.scenario import Scenario


def scenario(**values: Any) -> Scenario:
    usual = {"source": "normal", "embed_dim": 16, "num_heads": 4, "num_layers": 2, "query_len": 6, "mask": "full"}
    memory = {} if values["stack"] == "encoder" else {"key_len": 7}
    return Scenario(**{**usual, **memory, **values})


def test_a_window_reaches_further_through_more_layers() -> None:
    for layers in (1, 2, 3):
        found = reach_of(scenario(stack="encoder", mask="window(1)", num_layers=layers))
        distance = (torch.arange(6)[:, None] - torch.arange(6)).abs()
        assert torch.equal(found > 0, distance <= layers)


@pytest.mark.parametrize("kind", ["decoder", "encoder-decoder"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_reach_tells_the_target_from_the_memory(kind: str, batch_first: bool) -> None:
    s = scenario(stack=kind, mask="causal", memory_mask="k < 3", src_mask="causal", batch_first=batch_first)
    assert torch.equal(reach_of(s) > 0, torch.ones(6, 6).tril() > 0)
    seen = torch.zeros(6, 7, dtype=torch.bool)
    seen[:, :3] = True
    assert torch.equal(reach_of(s, "key") > 0, seen)


def test_the_reach_of_a_stack_is_that_of_its_module() -> None:
    s = scenario(stack="encoder", mask="window(1)")
    call = stack.arguments(s, build(s))
    expected = reach(stack.module(s), call["src"], mask=call["mask"])
    assert torch.equal(reach_of(s), expected)


def test_a_reach_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHA_VIZ_MEMORY_LIMIT_MB", "0.01")
    with pytest.raises(mv.CapacityError, match=r"^The encoder and the weights of its 2 attention calls"):
        reach_of(scenario(stack="encoder"))


def test_of_the_layer_alone_it_is_the_layers_own() -> None:
    s = Scenario(source="normal", query_len=5, key_len=7, mask="window(1)")
    assert torch.equal(reach_of(s, "key"), reach(s))
    assert reach_of(s).shape == (5, 5)
