from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import safetensors.torch
import torch

Save = Callable[[Mapping[str, torch.Tensor]], bytes]


def _npy(tensors: Mapping[str, torch.Tensor]) -> bytes:
    stream = io.BytesIO()
    (tensor,) = tensors.values()
    np.save(stream, tensor.numpy())
    return stream.getvalue()


def _npz(tensors: Mapping[str, torch.Tensor]) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: tensor.numpy() for name, tensor in tensors.items()})
    return stream.getvalue()


def _csv(tensors: Mapping[str, torch.Tensor]) -> bytes:
    (tensor,) = tensors.values()
    return "\n".join(",".join(map(repr, row)) for row in tensor.tolist()).encode()


def _pt(tensors: Mapping[str, torch.Tensor]) -> bytes:
    stream = io.BytesIO()
    torch.save(dict(tensors), stream)
    return stream.getvalue()


def _safetensors(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return safetensors.torch.save(dict(tensors))


@pytest.fixture(scope="session")
def save() -> dict[str, Save]:
    """How the libraries themselves write named tensors, by suffix (.npy and .csv hold one, without its name)."""
    return {".npy": _npy, ".npz": _npz, ".csv": _csv, ".safetensors": _safetensors, ".pt": _pt, ".pth": _pt}
