"""What is said where there is no cluster, and that nothing of Ray is asked for without an address."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch

from mha_viz import cluster
from mha_viz.attention.streamed import Stopped, StreamedAttention, elsewhere
from mha_viz.cluster import gateway, head
from mha_viz.errors import DeviceError


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> StreamedAttention:
    """Return attention of which every pass is large enough for a cluster."""
    monkeypatch.setattr(elsewhere, "LEAST_CELLS", 0)
    monkeypatch.setattr(head, "PATIENCE", 0.5)
    draw = torch.Generator().manual_seed(0)
    return StreamedAttention(*(torch.randn(1, 1, 300, 8, generator=draw) for _ in range(2)))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it look as if ray were there: what is tested does not get as far as importing it."""
    monkeypatch.setattr(head, "find_spec", lambda name: object())


@pytest.mark.parametrize("text", [None, "", "  "])
def test_without_an_address_all_work_stays_here(
    large: StreamedAttention, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.delenv(cluster.VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(cluster.VARIABLE, text)
    monkeypatch.setattr(cluster, "joined", lambda: pytest.fail("the cluster was asked"))
    assert cluster.address() == ""
    large.prepare()


def test_ray_that_is_not_installed_is_said_with_what_to_do(
    large: StreamedAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cluster.VARIABLE, "127.0.0.1:6379")
    monkeypatch.setattr(head, "find_spec", lambda name: None)
    with pytest.raises(DeviceError) as error:
        large.prepare()
    assert str(error.value) == (
        "MHA_VIZ_RAY_ADDRESS sends work to a Ray cluster, but ray is not installed: pip install 'mha-viz[ray]', "
        "or unset MHA_VIZ_RAY_ADDRESS to compute here."
    )


@pytest.mark.parametrize(
    "text", ["6379", "somewhere", ":6379", "host:port", "host:0", "host:70000", "ray://host:10001"]
)
@pytest.mark.usefixtures("installed")
def test_what_is_no_address_is_refused(large: StreamedAttention, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(cluster.VARIABLE, text)
    with pytest.raises(DeviceError) as error:
        large.prepare()
    assert str(error.value) == f"MHA_VIZ_RAY_ADDRESS must be host:port of a Ray head, or auto, not {text!r}."


@pytest.mark.usefixtures("installed")
def test_an_address_that_does_not_answer_is_said_with_what_to_do(
    large: StreamedAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(cluster.VARIABLE, where)
    with pytest.raises(DeviceError) as error:
        large.prepare()
    assert str(error.value) == (
        f"no Ray cluster answers at {where}: start its head with ray start --head, "
        "or unset MHA_VIZ_RAY_ADDRESS to compute here."
    )


@pytest.fixture
def another_service(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Set the address to that of something that is no Ray head; return what ends it."""
    server = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setenv(cluster.VARIABLE, f"127.0.0.1:{server.getsockname()[1]}")
    return server.close


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install 'mha-viz[ray]'")
def test_a_port_of_something_else_cannot_be_joined_and_waiting_for_it_can_be_stopped(
    large: StreamedAttention, another_service: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "GRACE", 0.1)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 3

    with pytest.raises(Stopped):
        large.prepare(stop=stop)
    with pytest.raises(DeviceError, match=r"this machine cannot join the Ray cluster at 127\.0\.0\.1:.* run ray start"):
        large.prepare()
    another_service()


def test_ray_is_loaded_neither_by_the_package_nor_by_its_cluster_part() -> None:
    code = "import mha_viz.cluster, mha_viz.attention.streamed, sys; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
