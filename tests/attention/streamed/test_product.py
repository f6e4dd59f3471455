"""Products of queries and keys, against NumPy's in float64 and against `torch.mm`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mha_viz.attention.streamed import product as module
from mha_viz.attention.streamed.product import WIDEST, is_onednn_faster, product


@pytest.fixture
def anew() -> Iterator[None]:
    is_onednn_faster.cache_clear()
    yield
    is_onednn_faster.cache_clear()


@contextmanager
def onednn(enabled: bool) -> Iterator[None]:
    before = torch.backends.mkldnn.set_flags(enabled)
    yield
    torch.backends.mkldnn.set_flags(*before)


def rows(count: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(count), dtype=dtype)


def called(a: Tensor, b: Tensor) -> list[str]:
    """Return the operators that one product calls."""
    names = []

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            names.append(str(func))
            return func(*args, **(kwargs or {}))

    with Names():
        product(a, b)
    return names


@pytest.mark.parametrize("enabled", [True, False], ids=["onednn", "mm"])
@pytest.mark.parametrize("width", [1, 3, 64, WIDEST, WIDEST + 1])
@pytest.mark.parametrize(("of_a", "of_b"), [(1, 1), (1, 700), (513, 2), (300, 129), (0, 4), (4, 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_errs_no_more_than_its_number_format(
    enabled: bool, width: int, of_a: int, of_b: int, dtype: torch.dtype
) -> None:
    a, b = rows(of_a, width, dtype), rows(of_b + 5, width, dtype)[5:]
    with onednn(enabled):
        found = product(a, b)
    left, right = (side.numpy().astype(np.float64) for side in (a, b))
    bound = 8 * width**0.5 * torch.finfo(dtype).eps * (np.abs(left) @ np.abs(right).T)
    assert found.dtype == dtype
    assert found.is_contiguous() or not found.numel()
    assert (np.abs(found.numpy() - left @ right.T) <= bound).all()


def test_onednn_errs_as_little_as_mm_as_wide_as_it_is_used() -> None:
    a, b = rows(512, WIDEST), rows(700, WIDEST)
    exact = a.double() @ b.double().T
    ours, theirs = (float((found - exact).square().mean()) for found in (product(a, b), a @ b.T))
    assert ours <= 1.1 * theirs


def test_numbers_that_are_none_stay_in_their_rows() -> None:
    a, b = rows(4, 8), rows(3, 8)
    a[1, 2], a[2, 3] = torch.nan, torch.inf
    assert product(a, b).isfinite().all(1).tolist() == [True, False, False, True]


def test_what_onednn_is_asked_for_is_float32_of_heads_that_are_not_wide() -> None:
    own = ["mkldnn._linear_pointwise.default"] if is_onednn_faster() else called(rows(2, 200), rows(2, 200))
    assert called(rows(2, 8), rows(3, 8)) == own
    for width, dtype in ((WIDEST + 1, torch.float32), (8, torch.float64)):
        assert "aten.mm.default" in called(rows(2, width, dtype), rows(3, width, dtype))
    with onednn(False):
        assert "aten.mm.default" in called(rows(2, 8), rows(3, 8))


@pytest.mark.parametrize("error", [AttributeError, RuntimeError, TypeError, None])
@pytest.mark.usefixtures("anew")
def test_a_torch_without_the_operator_uses_mm(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None) -> None:
    def other(a: Tensor, b: Tensor) -> Tensor:
        if error:
            raise error
        return a @ b.T + 1

    monkeypatch.setattr(module, "_onednn", other)
    assert not is_onednn_faster()
    assert torch.equal(product(rows(2, 8), rows(3, 8)), rows(2, 8) @ rows(3, 8).T)


@pytest.mark.usefixtures("anew")
def test_a_cpu_without_wide_vectors_uses_mm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert not is_onednn_faster()
