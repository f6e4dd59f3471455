"""Passes over long sequences on a real Ray cluster of two nodes: as here to the bit, stopped, with a node killed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from mha_viz import cluster, masks
from mha_viz.attention.streamed import Stopped, StreamedAttention, elsewhere
from mha_viz.errors import DeviceError, MaskError
from tests.cluster.nodes import Nodes, two_nodes, visible_gpus

if find_spec("ray") is None:
    pytest.skip("ray is not installed: pip install 'mha-viz[ray]'", allow_module_level=True)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with two_nodes() as found:
        yield found
        cluster.disconnect()


@pytest.fixture
def remote(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Send every pass to the cluster, however small."""
    monkeypatch.setenv(cluster.VARIABLE, nodes.address)
    monkeypatch.setattr(elsewhere, "LEAST_CELLS", 0)
    return nodes


def operands(length: int, items: int = 1, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    draw = torch.Generator().manual_seed(length)
    return [2 * torch.randn(items, 3, length, 16, generator=draw, dtype=dtype) for _ in range(3)]


def results(w: StreamedAttention, *, rows: bool, item: int = 0, size: int = 512) -> list[Tensor]:
    """Return all that a pass finds; rows without a number get one, so that they can be compared."""
    found: list[Tensor] = []
    if rows:
        stats = w.stats(item, size=size, output=True)
        found += [tensor for head in stats.rows for tensor in head.tensors]
    for head in range(w.shape[1]):
        found += [w.overview(head, size, "max", item), w.overview(head, size, "mean", item), w.log_sum_exp(head, item)]
    return [tensor.nan_to_num(-7.0) for tensor in found]


def assert_same(one: list[Tensor], two: list[Tensor]) -> None:
    assert len(one) >= 9
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a, b)


class ByNobody:
    """Stands for the threads of this process where they must not be asked."""

    def __call__(self, *_: object) -> Iterator[Any]:
        raise AssertionError("the pass was made in this process")


CASES: list[tuple[int, dict[str, Any]]] = [
    (700, {}),
    (1_500, {"mask": "causal", "bias": masks.score_bias("alibi")}),
    (1_500, {"mask": "window(30) & (q != 5)", "extra_keys": 2}),
    (1_000, {"mask": "(k <= q) | (h == 1)", "key_lengths": (1_000, 640)}),
    (1_000, {"mask": "random(0.2, 0)", "dtype": torch.float64}),
]


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize(("length", "options"), CASES)
def test_the_cluster_finds_what_this_process_finds_to_the_bit(
    remote: Nodes, monkeypatch: pytest.MonkeyPatch, length: int, options: dict[str, Any], rows: bool
) -> None:
    settings = {key: value for key, value in options.items() if key != "dtype"}
    q, k, v = operands(length, items=2, dtype=options.get("dtype", torch.float32))
    there, here = (StreamedAttention(q, k, v, threads=1, **settings) for _ in range(2))
    shares: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(elsewhere, "in_order", ByNobody())
        there.prepare(item=1, size=100, rows=rows, output=rows, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert "ray" not in sys.modules  # it is loaded by a process of its own
    monkeypatch.delenv(cluster.VARIABLE)
    assert_same(results(there, rows=rows, item=1, size=100), results(here, rows=rows, item=1, size=100))


def test_a_small_pass_stays_here(remote: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "LEAST_CELLS", 3 * 700**2 + 1)
    monkeypatch.setattr(cluster, "joined", ByNobody())
    StreamedAttention(*operands(700)).prepare()


def test_a_stopped_pass_leaves_the_cluster_free_and_the_object_usable(remote: Nodes) -> None:
    q, k, v = operands(12_000)
    w = StreamedAttention(q, k, v, threads=1)
    shares: list[float] = []
    with pytest.raises(Stopped):
        w.prepare(rows=True, stop=lambda: len(shares) >= 2, progress=shares.append)
    assert 0 < shares[-1] < 0.5
    comes_to(remote, "cores", "2")
    w.prepare([0], size=64)
    expected = torch.softmax(q[0, 0, :8].double() @ k[0, 0].double().T / 4, -1)
    torch.testing.assert_close(w.window(0, slice(0, 8), slice(None)).double(), expected, atol=5e-6, rtol=0)


def test_what_is_raised_in_the_middle_ends_the_calls(remote: Nodes) -> None:
    def fail(share: float) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        StreamedAttention(*operands(3_000), threads=1).prepare(progress=fail)


def test_a_mask_that_fails_on_a_node_says_what_it_says_here(remote: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    w = StreamedAttention(*operands(700), mask="q // (k - 5) == 0", threads=1)
    with pytest.raises(MaskError) as there:
        w.prepare()
    monkeypatch.delenv(cluster.VARIABLE)
    with pytest.raises(MaskError) as here:
        w.prepare()
    assert str(there.value) == str(here.value)
    assert type(there.value) is MaskError


def test_a_node_with_another_torch_is_refused(remote: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    there = torch.__version__
    monkeypatch.setattr(torch, "__version__", "0.9")
    with pytest.raises(
        DeviceError, match=f"has torch {there.replace('+', '.')}, but results must be those of torch 0.9"
    ):
        StreamedAttention(*operands(700)).prepare()


def comes_to(remote: Nodes, what: str, expected: str) -> None:
    """Wait until the cluster says so."""
    deadline = time.monotonic() + 60
    while remote.do(what) != expected:
        assert time.monotonic() < deadline, f"{what} are not {expected}"
        time.sleep(0.05)


def test_a_node_killed_in_the_middle_loses_nothing(remote: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = (StreamedAttention(*operands(9_000), mask="causal", threads=1) for _ in range(2))
    shares: list[float] = []

    def kill(share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            remote.do("kill")

    there.prepare(rows=True, output=True, progress=kill)
    assert shares[-1] == 1.0
    comes_to(remote, "nodes", "1")  # Ray has to miss it first
    monkeypatch.delenv(cluster.VARIABLE)
    assert_same(results(there, rows=True), results(here, rows=True))


def test_gpus_are_those_that_ray_sees(remote: Nodes) -> None:
    def go_on() -> None:
        """Never stop."""

    with cluster.joined() as way:
        assert [way.places(device, go_on) for device in ("cpu", "cuda", "mps")] == [1, 0, 0]
        remote.do("gpu")
        assert way.places("cuda", go_on) == 1
        found = way.in_order(visible_gpus, "call", [], [1, 2], device="cuda", stop=go_on)
        assert list(found) == ["call 1: 0", "call 2: 0"]


def test_a_cluster_that_ends_in_the_middle_is_said_and_ends_nothing_here(
    remote: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = StreamedAttention(*operands(9_000), threads=1)
    shares: list[float] = []

    def end(share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            remote.do("raylet")

    with pytest.raises(DeviceError, match="Ray cluster"):
        w.prepare(rows=True, progress=end)
    monkeypatch.delenv(cluster.VARIABLE)
    w.prepare([0])
    remote.do("quit")
    monkeypatch.setenv(cluster.VARIABLE, remote.address)
    with pytest.raises(DeviceError, match=f"no Ray cluster answers at {remote.address}: start its head with"):
        w.prepare(size=100)
