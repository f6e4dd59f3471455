"""A GPU that is not there: tensors that say they are on `mps:0`, and hold their numbers on the CPU.

An operation that mixes them with tensors of the CPU fails as it would on a GPU, and so does reading them as NumPy
without `.cpu()`. What they compute is what the CPU computes: kernels of a GPU, and its rounding, are only tested where
there is one (`pytest -m gpu`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

from mha_viz.attention import device as devices

DEVICE = torch.device("mps", 0)
aten = torch.ops.aten
# Copies go from one device to another, indices may lie on the CPU, and what is read out is a number.
ACROSS = {
    aten.copy_.default,
    aten._to_copy.default,
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._local_scalar_dense.default,
}
# What these return is where their first argument is, wherever the others are.
LIKE_FIRST = {aten.copy_.default, aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class Pretended(Tensor):
    """A tensor on the device, with its numbers in `held`. To torch's own C++ it is on `meta`, which every build has."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Pretended:
        layout = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made = Tensor._make_wrapper_subclass(cls, held.shape, device="meta", **layout)
        made.held = held
        return made

    @property
    def device(self) -> torch.device:
        return DEVICE

    @property
    def is_meta(self) -> bool:
        return False

    def __repr__(self) -> str:
        return f"Pretended({self.held!r})"

    def __deepcopy__(self, memo: object) -> Pretended:
        return Pretended(self.held.clone()).requires_grad_(self.requires_grad)

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type in (DEVICE.type, "meta")


def held(value: Any) -> Any:
    return value.held if isinstance(value, Pretended) else value


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Call an operation with what the tensors hold; new tensors are where its arguments, or its `device`, are."""
    tensors = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
    there = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
    apart = [tensor for tensor in tensors if tensor.dim() and not isinstance(tensor, Pretended)]
    if there and apart and func not in ACROSS:
        raise RuntimeError(f"{func} got tensors on {DEVICE} and tensors of {apart[0].shape} on the CPU.")
    onto = is_there(kwargs["device"]) if kwargs.get("device") is not None else bool(there)
    if func in LIKE_FIRST:
        onto = isinstance(args[0], Pretended)
        if func is not aten.copy_.default and there and not onto:
            raise RuntimeError(f"{func} got a tensor on the CPU and indices or values on {DEVICE}.")
    if kwargs.get("device") is not None:
        kwargs = {**kwargs, "device": "cpu"}
    known = {id(tensor.held): tensor for tensor in there}  # an operation in place returns its argument
    found = func(*tree_map(held, args), **tree_map(held, kwargs))

    def placed(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)]
        return Pretended(value) if onto and isinstance(value, Tensor) else value

    return tree_map(placed, found)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


class _Moves(TorchFunctionMode):
    """What torch's C++ refuses for a device that it was built without, or for any subclass."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if func is Tensor.to:
            return _moved(first, *args[1:], **kwargs)
        if func in (torch.tensor, torch.as_tensor) and is_there(kwargs.get("device")):
            return _moved(func(*args, **{**kwargs, "device": None}), DEVICE)
        if isinstance(first, Pretended):
            if func is Tensor.cpu:
                return first.held.clone()
            if func is Tensor.tolist:
                return first.held.tolist()
            if func is Tensor.numpy:
                raise TypeError(f"can't convert a tensor on {DEVICE} to numpy")
        return func(*args, **kwargs)


def _moved(tensor: Tensor, *to: Any, device: Any = None, dtype: torch.dtype | None = None, **_: object) -> Tensor:
    for value in to:
        if isinstance(value, str | torch.device):
            device = value
        elif isinstance(value, torch.dtype):
            dtype = value
        elif isinstance(value, Tensor):
            device, dtype = value.device, value.dtype
    found = held(tensor) if dtype is None else held(tensor).to(dtype)
    before = isinstance(tensor, Pretended)
    after = before if device is None else is_there(device)
    if after == before and found is held(tensor):
        return tensor
    return Pretended(found.detach()) if after else found.clone()


@contextmanager
def another_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Have a second device in the block, and give its name."""
    with monkeypatch.context() as patched:
        patched.setattr(devices, "available", lambda: ("cpu", DEVICE.type))
        for name in ("synchronize", "manual_seed"):
            patched.setattr(torch.mps, name, lambda *_: None)
        with _Moves(), _Operations():
            yield DEVICE.type
