"""Which kernel a call of attention ran: seen from the operators that torch dispatches, in this thread alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

# Part of an operator's name, and what it is called here; the first that occurs is the answer.
KERNELS = {
    "_native_multi_head_attention": "fast path",
    "_scaled_dot_product": "fused",
    "_safe_softmax": "safe softmax",
    "_softmax": "softmax",
}


class _Watch(TorchDispatchMode):
    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.operators: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators.add(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def watched() -> Iterator[Callable[[], str]]:
    """Yield a function that says which kernel of `KERNELS` ran within the block, "" if none."""
    watch = _Watch()
    with watch:
        yield lambda: next((word for part, word in KERNELS.items() if any(part in op for op in watch.operators)), "")
