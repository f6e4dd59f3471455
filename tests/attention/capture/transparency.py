"""Running a model with and without a capture: it must not be able to tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn, overrides

from mha_viz.attention.capture import capture
from mha_viz.attention.runs import Run


def restored(model: nn.Module) -> None:
    """Assert that nothing of a capture is left on a model or in this thread."""
    assert not [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert overrides._get_current_function_mode_stack() == []


def run_of(model: nn.Module, call: Callable[[nn.Module], Tensor], *, exact: bool = True, **options: Any) -> Run:
    """Return the Run of a captured call, after asserting that output and random state are those of a bare call."""
    torch.manual_seed(0)
    bare = call(model)
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    with capture(model, **options) as captured:
        output = call(model)
    assert torch.equal(torch.get_rng_state(), drawn)
    if exact:
        assert torch.equal(output.nan_to_num(nan=7.0), bare.nan_to_num(nan=7.0))
    else:
        assert torch.allclose(output, bare, rtol=0, atol=1e-6)
    assert output.requires_grad == bare.requires_grad
    restored(model)
    return captured.run()
