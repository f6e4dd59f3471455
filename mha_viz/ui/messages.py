"""The bytes of figures, made once for all who look at the same one in the same way, as a class with one link does."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from mha_viz.remember import remembered
from mha_viz.ui import values, wire
from mha_viz.ui.skeleton import Spec


class Message(NamedTuple):
    """What was sent, and of which figure: as long as that is kept, no other one takes its place in memory."""

    spec: Spec
    data: bytes


def of(spec: Spec, **shown: Hashable) -> bytes:
    """Return the bytes of a figure that nobody changes any more, as `wire.encode` makes them of the same arguments."""
    return _made(spec, **shown).data


def forget() -> None:
    """Have all messages made anew, since values that wait on the server for those who got one are gone."""
    _made.cache_clear()  # type: ignore[attr-defined]  # cachetools adds it


def _key(spec: Spec, **shown: Hashable) -> Hashable:
    return id(spec), values.serving(), *shown.items()  # without the route, all values are in the message


def _size(made: Message) -> int:
    return 5 * len(made.data)  # a message has one byte of a cell, and the figure four


@remembered(128, key=_key, size=_size)
def _made(spec: Spec, **shown: Hashable) -> Message:
    return Message(spec, wire.encode(spec, **shown))  # type: ignore[arg-type]  # they are its arguments
