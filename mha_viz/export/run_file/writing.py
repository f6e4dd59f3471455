"""From a Run to the tensors and the metadata of a run file."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor

from mha_viz.attention.records import Call, LayerAttention, Passed
from mha_viz.attention.runs import Run
from mha_viz.errors import InputError
from mha_viz.export.run_file.layout import FORMAT, MAX_HEADER, MAX_TENSORS, MODULE, VERSION
from mha_viz.inputs.assemble import Inputs, Tokens

_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8)
DTYPES = frozenset({*_FLOATS, *_WHOLE, torch.bool})

_ENTRY = 200  # bytes that a tensor takes in the header besides its name, at most


def packed(run: Run) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a run file by name, and its metadata.

    Raises:
        InputError: A tensor can't be kept, or the names and tokens are too long.
    """
    tensors, rows = _Tensors(), _Rows()
    facts = {
        "name": run.name,
        "device": run.device,
        "dtype": run.dtype,
        "seconds": _number(run.seconds),
        "peak_bytes": run.peak_bytes,
        "scenario": None if run.scenario is None else run.scenario.to_query(),
        "notes": list(run.notes),
        "inputs": None if run.inputs is None else _inputs(run.inputs, tensors, rows),
        "layers": [_layer(layer, f"layers.{i}", tensors, rows) for i, layer in enumerate(run.layers)],
        "norms": [[name, tensors.put(f"norms.{i}", norm)] for i, (name, norm) in enumerate(run.norms)],
        "tokens": rows.texts,
    }
    metadata = {"format": FORMAT, "version": VERSION, "run": json.dumps(facts, allow_nan=False)}
    header = len(json.dumps(metadata)) + sum(len(name) + _ENTRY for name in tensors.named)
    if header > MAX_HEADER or len(tensors.named) > MAX_TENSORS:
        raise InputError(
            f"The run's names and tokens, and the list of its {len(tensors.named):,} tensors, would take about "
            f"{header:,} bytes; a run file keeps at most {MAX_HEADER:,} of them: keep fewer layers or batch items."
        )
    return tensors.named, metadata


class _Tensors:
    """Tensors by name, each object once: where it is used again, the first name stands for it."""

    def __init__(self) -> None:
        self.named: dict[str, Tensor] = {}
        self._names: dict[int, str] = {}
        self._places: set[int] = set()

    def put(self, name: str, tensor: Tensor | None) -> str | None:
        """Keep a tensor and return the name that it has in the file."""
        if tensor is None:
            return None
        if id(tensor) not in self._names:
            self._names[id(tensor)] = name
            self.named[name] = self._alone(name, tensor)
        return self._names[id(tensor)]

    def _alone(self, name: str, tensor: Tensor) -> Tensor:
        """Return the tensor in memory of its own, which the format asks for."""
        if tensor.dtype not in DTYPES or tensor.dim() not in range(1, 9) or not tensor.numel():
            kind = f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
            raise InputError(f"{name} must hold real numbers or bools in 1 to 8 dimensions, not {kind}.")
        plain = tensor.detach().cpu().contiguous()
        memory = plain.untyped_storage()
        if memory.data_ptr() in self._places or memory.nbytes() != plain.nbytes:
            plain = plain.clone()
        self._places.add(plain.untyped_storage().data_ptr())
        return plain


class _Rows:
    """The tokens of batch items, each list once: layers and items mostly share them."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, ...], int] = {}

    @property
    def texts(self) -> list[tuple[str, ...]]:
        """The lists, in the order of their numbers."""
        return list(self._places)

    def put(self, tokens: Tokens | None) -> list[int] | None:
        """Return the number of each item's list."""
        if tokens is None:
            return None
        return [self._places.setdefault(tuple(row), len(self._places)) for row in tokens]


def _inputs(inputs: Inputs, tensors: _Tensors, rows: _Rows) -> dict[str, Any]:
    return {
        **{name: tensors.put(f"inputs.{name}", getattr(inputs, name)) for name in ("query", "key", "value")},
        "query_tokens": rows.put(inputs.query_tokens),
        "key_tokens": rows.put(inputs.key_tokens),
        "key_lengths": _listed(inputs.key_lengths),
    }


def _layer(layer: LayerAttention, at: str, tensors: _Tensors, rows: _Rows) -> dict[str, Any]:
    kept = ("output", "returned", "attn_mask", "key_padding_mask")
    return {
        "name": layer.name,
        "weights": tensors.put(f"{at}.weights", layer.held),
        **{name: tensors.put(f"{at}.{name}", getattr(layer, name)) for name in kept},
        "output_change": _number(layer.output_change),
        "extra_keys": list(layer.extra_keys),
        "dropout": layer.dropout,
        "how": layer.how,
        "passed": None if layer.passed is None else _passed(layer.passed, f"{at}.passed", tensors),
        "query_tokens": rows.put(layer.query_tokens),
        "key_tokens": rows.put(layer.key_tokens),
        "heads": _listed(layer.heads),
        "items": _listed(layer.items),
        "call": None if layer.call is None else _call(layer.call, f"{at}.call", tensors),
    }


def _passed(passed: Passed, at: str, tensors: _Tensors) -> dict[str, Any]:
    masks = {name: tensors.put(f"{at}.{name}", getattr(passed, name)) for name in ("attn_mask", "key_padding_mask")}
    return {"api": passed.api, "is_causal": passed.is_causal, **masks}


def _call(call: Call, at: str, tensors: _Tensors) -> dict[str, Any]:
    state = call.module.state_dict(keep_vars=True)  # the parameters themselves: shared ones are recognised
    return {
        **{name: tensors.put(f"{at}.{name}", getattr(call, name)) for name in ("query", "key", "value")},
        "module": {name: getattr(call.module, name) for name in MODULE},
        "state": {name: tensors.put(f"{at}.module.{name}", value) for name, value in state.items()},
    }


def _listed(numbers: tuple[int, ...] | None) -> list[int] | None:
    return None if numbers is None else [int(number) for number in numbers]


def _number(value: float | None) -> float | str | None:
    """Return a number as JSON has it; NaN and the infinities as words."""
    return value if value is None or math.isfinite(value) else str(float(value))
