"""Edits carried out on copies of what goes into a layer; the originals stay as they are."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch
from torch import Tensor

from mha_viz.attention.edits import INDICES, Edit, Edits
from mha_viz.attention.ingredients import Ingredients, with_inputs
from mha_viz.attention.projections import projections
from mha_viz.errors import ScenarioError

_INPUTS = ("query", "key", "value")
_WEIGHTS = {"q_weight": "q", "k_weight": "k", "v_weight": "v", "out_weight": "out"}


def edited(given: Ingredients, edits: Edits) -> Ingredients:
    """Return the ingredients after the edits, in order.

    Args:
        given: As they are; it is not changed.
        edits: What to change.

    Raises:
        ScenarioError: An index is out of bounds, or a number is too large for the dtype.
    """
    for edit in edits.statements:
        _check(given, edit)
    with torch.no_grad():
        own = _copied(given, edits)
        for edit in edits.statements:
            _write(own, edit)
    off = {edit.index[0] for edit in edits.statements if edit.name == "head"}
    warm = [float(edit.value) for edit in edits.statements if edit.name == "temperature"]
    return replace(own, off=tuple(sorted(h for h in off if h is not None)), temperature=[1.0, *warm][-1])


def _check(given: Ingredients, edit: Edit) -> None:
    shape = _shape(given, edit.name)
    if any(i is not None and i >= end for i, end in zip(edit.index, shape, strict=True)):
        places = zip(INDICES[edit.name], shape, strict=True)
        allowed = ", ".join(f"{place} from 0 to {end - 1}" for place, end in places)
        raise ScenarioError(f"edits: {edit.name} has {allowed}, but was given {edit}.", field="edits")
    dtype = given.call.query.dtype
    if abs(edit.value) > torch.finfo(dtype).max:
        largest = f"{torch.finfo(dtype).max:.3g}"
        message = f"edits: numbers of {str(dtype).removeprefix('torch.')} end at {largest}, but was given {edit}."
        raise ScenarioError(message, field="edits")


def _shape(given: Ingredients, name: str) -> tuple[int, ...]:
    """Return how many places there are for each index."""
    if name in _INPUTS:
        return tuple(getattr(given.call, name).shape)
    if name in _WEIGHTS:
        return tuple(projections(given.call.module)[_WEIGHTS[name]][0].shape)
    return {"mask": given.shape, "head": given.shape[1:2]}.get(name, ())


def _copied(given: Ingredients, edits: Edits) -> Ingredients:
    """Return ingredients of which everything that will be written on is a copy."""
    names = {edit.name for edit in edits.statements}
    call = with_inputs(given.call, torch.clone) if names & {*_INPUTS} else given.call
    if names & {*_WEIGHTS}:
        call = replace(call, module=copy.deepcopy(call.module))
    mask = _own_mask(given, edits) if "mask" in names else given.mask
    return replace(given, call=call, mask=mask)


def _own_mask(given: Ingredients, edits: Edits) -> Tensor:
    """Return a mask of the caller's own, no larger than its edits need: [N or 1, H or 1, L, S]."""
    n, heads, length, keys = given.shape
    query = given.call.query
    mask = torch.zeros(1, 1, length, keys, dtype=query.dtype, device=query.device) if given.mask is None else given.mask
    written = [edit for edit in edits.statements if edit.name == "mask"]
    items = n if any(edit.index[0] is not None for edit in written) else mask.shape[0]
    across = heads if any(edit.index[1] is not None for edit in written) else mask.shape[1]
    return mask.expand(items, across, length, keys).clone()


def _write(own: Ingredients, edit: Edit) -> None:
    if edit.name in _INPUTS:
        getattr(own.call, edit.name)[edit.index] = edit.value
    elif edit.name in _WEIGHTS:
        projections(own.call.module)[_WEIGHTS[edit.name]][0][edit.index] = edit.value
    elif edit.name == "mask" and own.mask is not None:
        place = tuple(slice(None) if i is None else i for i in edit.index)
        cells = own.mask[place]
        own.mask[place] = -math.inf if edit.value else cells.masked_fill(cells == -math.inf, 0.0)
