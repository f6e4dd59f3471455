"""What runs on the nodes of a cluster."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from mha_viz.cluster.messages import Array
from mha_viz.errors import DeviceError

S = TypeVar("S")
A = TypeVar("A")
T = TypeVar("T")


def perform(
    function: Callable[[S, Sequence[Array], A], T], held: tuple[S, Sequence[Array]], call: A, version: str
) -> T:
    """Return `function(shared, arrays, call)`, computed by one thread so that sums have one order.

    Args:
        function: Of a module of this package, which travels as its name.
        held: What all calls have in common.
        call: What only this one needs.
        version: Torch's version where the call comes from; another one could round otherwise.

    Raises:
        DeviceError: This node has another version.
    """
    if torch.__version__ != version:
        message = (
            f"node {platform.node()} of the Ray cluster has torch {torch.__version__}, but results must be those of "
            f"torch {version}: install the same version on all nodes."
        )
        raise DeviceError(message)
    torch.get_num_threads()  # or the first call would set what the next line sets
    torch.set_num_threads(1)
    with torch.no_grad():
        return function(*held, call)
