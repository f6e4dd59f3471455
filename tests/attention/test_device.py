"""What runs on another device than the CPU stays there: nothing mixes devices, and the numbers are the CPU's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import astuple, replace

import pytest
import torch
from torch import Tensor

import mha_viz as mv
from mha_viz import gallery
from mha_viz.attention.device import resolve
from mha_viz.attention.streamed import StreamedAttention
from mha_viz.scenario.stack_fields import ATTENTION
from tests.pretended import DEVICE, Pretended, another_device

CALLS: dict[str, Callable[[mv.Scenario], object]] = {
    "check": lambda s: mv.run(s).check(),
    "trace": mv.trace,
    "reach": mv.reach,
    "head_grid": lambda s: mv.figures.head_grid(mv.run(s)),
    "html": lambda s: mv.run(s)._repr_html_(),
    "npz": lambda s: mv.export.npz(mv.run(s)),
}
LAYERS = [example for example in gallery.EXAMPLES if example.scenario.stack == ATTENTION]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with another_device(monkeypatch) as name:
        yield name


def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(mv.DeviceError) as refused:
        resolve("cuda:7")
    assert str(refused.value).startswith("device 'cuda:7' is not on this machine: choose one of cpu")


def test_mixing_devices_fails_as_on_a_gpu(elsewhere: str) -> None:
    there = torch.ones(3, 3, device=elsewhere)
    assert isinstance(there @ there, Pretended)
    assert there.sum().item() == 9
    with pytest.raises(RuntimeError, match="on the CPU"):
        there + torch.ones(3)
    with pytest.raises(RuntimeError, match="indices"):
        torch.ones(3)[there[0].long()]
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    there[0].zero_()
    torch.testing.assert_close(there.cpu(), torch.tensor([[0.0] * 3, [1.0] * 3, [1.0] * 3]))


@pytest.mark.parametrize("example", gallery.EXAMPLES, ids=lambda e: e.name)
def test_every_example_gives_the_cpus_weights_and_statistics(example: gallery.Example, elsewhere: str) -> None:
    s = example.scenario
    here, there = mv.run(s), mv.run(replace(s, device=elsewhere))
    for a, b in zip(here.layers, there.layers, strict=True):
        assert b.weights.device == (DEVICE if s.stack == ATTENTION else torch.device("cpu"))  # captures are kept there
        torch.testing.assert_close(b.weights.cpu(), a.weights, atol=1e-6, rtol=1e-5, equal_nan=True)
        assert astuple(b.stats().summary) == pytest.approx(astuple(a.stats().summary), abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("example", LAYERS[::6], ids=lambda e: e.name)
def test_everything_else_runs_there_too(example: gallery.Example, name: str, elsewhere: str) -> None:
    assert CALLS[name](replace(example.scenario, device=elsewhere)) is not None


def results(q: Tensor, k: Tensor, v: Tensor, **sight: object) -> Iterator[tuple[str, Tensor]]:
    """Yield all that a streamed layer gives, from a pass and without one."""
    w = StreamedAttention(q, k, v, **sight)
    yield "window without a pass", w.window(1, slice(100, 200), slice(0, 150))
    (_, rows) = w.stats(output=True).rows
    for name in ("entropy", "distance", "row_sum", "allowed", "top_weights", "column_mass", "output"):
        yield name, getattr(rows, name)
    yield "max", w.overview(0)
    yield "mean", w.overview(1, pool="mean")
    yield "log-sum-exp", w.log_sum_exp(1)
    yield "row", w.row(0, 5, item=1)
    for pool in ("max", "mean"):
        yield f"{pool} of a region", w.region(None, slice(0, 300), slice(0, 600), side=3, pool=pool)
    yield "hidden", w.hidden(slice(0, 300), slice(0, 600), side=3)[0]


@pytest.mark.parametrize(
    "sight",
    [
        {},
        {"mask": "causal & ~cells(5, 0, 3)"},
        {"mask": "window(50) | prefix(3)", "key_lengths": (500, 650)},
        {"mask": "causal", "extra_keys": 2, "bias": mv.score_bias("alibi()")},
        {"mask": "k > 600"},
    ],
    ids=str,
)
def test_a_streamed_layer_stays_there(sight: dict[str, object], elsewhere: str) -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 700, 16, generator=draw) for _ in range(3))
    here = dict(results(q, k, v, **sight))
    for name, found in results(*(tensor.to(elsewhere) for tensor in (q, k, v)), **sight):
        assert found.device == DEVICE, name
        torch.testing.assert_close(found.cpu(), here[name], atol=2e-6, rtol=1e-4, equal_nan=True)
