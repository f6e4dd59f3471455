"""From the two sides of a Pair to the pictures that are compared, and what pages call them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

from mha_viz import settings
from mha_viz.attention.compare import Comparison, Selected, compare
from mha_viz.errors import InputError, MhaVizError
from mha_viz.scenario import Scenario
from mha_viz.ui import cached, origin
from mha_viz.ui.origin import RunFile
from mha_viz.ui.pair import Pair, Side
from mha_viz.ui.view import View

LEFT, RIGHT = "left", "right"
NAMES = (LEFT, RIGHT)
SOURCES = {"explore": "Explore's settings", "file": "the run file", "model": "the pretrained model"}
PLACES = ("layer", "head", "item")

Chosen = Callable[[type], Any]


@dataclass(frozen=True)
class Compared:
    """A comparison, and what its sides are called.

    Attributes:
        found: What differs.
        names: The two sides, in as few words as tell them apart.
        common: Which layer, head and item both sides show, where they show the same.
    """

    found: Comparison
    names: tuple[str, str]
    common: str


def asked(chosen: Chosen) -> Pair:
    """Return the session's Pair."""
    found: Pair = chosen(Pair)
    return found.over(chosen(Scenario))


def compared(pair: Pair, view: View, chosen: Chosen) -> Compared:
    """Return the comparison that a Pair asks for.

    Raises:
        MhaVizError: A side cannot be run, has no such layer, head or item, or the two have different shapes.
    """
    left, right = pair.sides
    first, second = (_selected(side, name, view, chosen) for side, name in zip((left, right), NAMES, strict=True))
    found = compare(first, second)
    names = differing(left, right, chosen)
    described = (
        _described(side, picture, names, chosen) for side, picture in zip((left, right), (first, second), strict=True)
    )
    told = [_at(name, first) for name in PLACES if name not in names and _counts(name, first) > 1]
    return Compared(found, (next(described), next(described)), " · ".join(told))


def key(pair: Pair, view: View, chosen: Chosen) -> Hashable:
    """Return what decides the pictures of a comparison, whichever cell is chosen."""
    origins = tuple(origin.key(side.origin(chosen)) for side in pair.sides)
    return pair, origins, replace(view, query=None, key=None)


def _selected(side: Side, name: str, view: View, chosen: Chosen) -> Selected:
    try:
        run = cached.run(side.origin(chosen))
        shown, at = view.within(run), side.place
        head = None if at.average else shown.head if at.head is None else at.head
        layer = shown.layer if at.layer is None else at.layer
        return Selected(run, layer, head, shown.item if at.item is None else at.item)
    except MhaVizError as error:
        raise InputError(f"{name.capitalize()}: {error}") from None


def differing(left: Side, right: Side, chosen: Chosen) -> tuple[str, ...]:
    """Return the names of what is not the same on both sides: `of`, settings, `layer`, `head` and `item`."""
    places = [name for name in PLACES if _place(left, name) != _place(right, name)]
    if left.kind is not right.kind:
        return ("of", *places)
    names = [name for name in settings.metadata(left.kind) if name in {**left.changes, **right.changes}]
    return (*(name for name in names if value(left, name, chosen) != value(right, name, chosen)), *places)


def value(side: Side, name: str, chosen: Chosen) -> Any:
    """Return what a setting is on a side: its own, or else the session's."""
    return side.changes[name] if name in side.changes else getattr(chosen(side.kind), name)


def _place(side: Side, name: str) -> Any:
    return "average" if name == "head" and side.place.average else getattr(side.place, name)


def _described(side: Side, picture: Selected, names: tuple[str, ...], chosen: Chosen) -> str:
    """Say in a few words what a side is, by what it does not share with the other."""
    said = [_at(name, picture) if name in PLACES else _told(side, name, chosen) for name in names]
    return ", ".join(said) or "the same"


def _told(side: Side, name: str, chosen: Chosen) -> str:
    if name == "of":
        return SOURCES[side.place.of]
    found = value(side, name, chosen)
    if name == "training":
        return "train mode" if found else "eval mode"
    if isinstance(found, bool):
        return f"{name} {'on' if found else 'off'}"
    if side.kind is RunFile:
        return str(found).partition(" ")[2] or "the first file"
    short = str(found) if len(str(found)) <= 40 else f"{str(found)[:39]}…"
    return short if name in ("mask", "model") else f"{name} {short}"


def _at(name: str, picture: Selected) -> str:
    if name == "head":
        return picture.title
    if name == "layer":
        return f"layer {picture.layer}"
    return f"item {picture.item}"


def _counts(name: str, picture: Selected) -> int:
    items, heads = picture.record.weights.shape[:2]
    return {"layer": len(picture.run.layers), "head": heads, "item": items}[name]
