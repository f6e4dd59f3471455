"""Settings as frozen dataclasses of primitives, whose field metadata says everything about each field.

Widgets, validation, query strings and the reference page are all made from this metadata, so a new setting is one
new field. `Scenario` and the page's view are both built this way.
"""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache, lru_cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from mha_viz.errors import MhaVizError, ScenarioError

S = TypeVar("S")

MAX_QUERY_CHARS = 65_536
_SWITCHES = {"1": True, "0": False, "true": True, "false": False, "on": True, "off": False}
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Setting:
    """What is known of one field.

    Attributes:
        group: The group of controls that it belongs to.
        help: One or two sentences for a reader who has not met the term.
        label: What a control calls it; the field's name when empty.
        low: Smallest allowed number.
        high: Largest allowed number.
        choices: Allowed texts; empty when any text will do.
        max_chars: Longest allowed text.
        lines: Height of the text control, in lines.
        first: Whether its control stands above the groups, always in sight.
        canonical: Turns an allowed value into the one spelling that is stored; raises `MhaVizError` if it can't.
    """

    group: str
    help: str
    label: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    max_chars: int = 200
    lines: int = 1
    first: bool = False
    canonical: Callable[[Any], Any] | None = None


def setting(default: Any, **about: Any) -> Any:
    """Declare a field of a settings dataclass; `about` are the attributes of `Setting`."""
    return field(default=default, metadata={"setting": Setting(**about)})


@cache
def kinds(settings: type) -> dict[str, tuple[type, bool]]:
    """Map each field's name to its type and whether None is allowed."""
    found: dict[str, tuple[type, bool]] = {}
    for name, hint in typing.get_type_hints(settings).items():
        options = typing.get_args(hint) or (hint,)
        found[name] = (next(o for o in options if o is not type(None)), type(None) in options)
    return found


@cache
def metadata(settings: type) -> dict[str, Setting]:
    """Map each field's name to its `Setting`, in the order of declaration."""
    return {f.name: f.metadata["setting"] for f in fields(settings)}


@cache
def default_of(settings: type, name: str) -> Any:
    """Return the default of one field."""
    return next(f.default for f in fields(settings) if f.name == name)


def normalise(value: Any, settings: type, name: str) -> Any:
    """Return `value` as the field stores it, or raise `MhaVizError` saying what is allowed."""
    about = metadata(settings)[name]
    kind, optional = kinds(settings)[name]
    if value is None and optional:
        return None
    if about.canonical is not None:
        try:
            value = about.canonical(value)
        except MhaVizError as error:
            error.field = name
            raise
    if kind is bool:
        return _boolean(name, value)
    if kind in (int, float):
        return _number(name, about, kind, value, optional)
    return _text(name, about, value)


class Checked:
    """Base of the settings dataclasses: each field is stored as its metadata allows, or refused."""

    def __post_init__(self) -> None:
        of: type = type(self)
        for name in metadata(of):
            object.__setattr__(self, name, normalise(getattr(self, name), of, name))


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ScenarioError(f"{name} must be True or False, not {_shown(value)}.", field=name)
    return value


def _number(name: str, about: Setting, kind: type, value: Any, optional: bool) -> int | float:
    what = "a whole number" if kind is int else "a number"
    allowed = f"{what} from {about.low:,} to {about.high:,}" + (" or None" if optional else "")
    try:
        if isinstance(value, bool | str):
            raise TypeError
        number = value.__index__() if kind is int else float(value)
    except (TypeError, ValueError, AttributeError, OverflowError):
        raise ScenarioError(f"{name} must be {allowed}, not {_shown(value)}.", field=name) from None
    low, high = -math.inf if about.low is None else about.low, math.inf if about.high is None else about.high
    if not low <= number <= high:
        raise ScenarioError(f"{name} must be {allowed}, not {number:,}.", field=name)
    return int(number) if kind is int else float(number)


def _text(name: str, about: Setting, value: Any) -> str:
    if not isinstance(value, str):
        raise ScenarioError(f"{name} must be a text, not {_shown(value)}.", field=name)
    if about.choices and value not in about.choices:
        raise ScenarioError(f"{name} must be one of {', '.join(about.choices)}, not {_shown(value)}.", field=name)
    if len(value) > about.max_chars:
        message = f"{name} may have at most {about.max_chars:,} characters, not {len(value):,}."
        raise ScenarioError(message, field=name)
    if _SURROGATE.search(value):
        raise ScenarioError(f"{name} holds half a character (a lone surrogate), which no link can hold.", field=name)
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@lru_cache(128)  # caches know a run by it, and ask for it some forty times for one change
def to_query(value: Any) -> str:
    """Return the fields that differ from their defaults as a URL query string, without the question mark."""
    of: type = type(value)
    given = ((name, getattr(value, name)) for name in metadata(of))
    return encode_query([(name, spelled(v)) for name, v in given if v != default_of(of, name)])


def encode_query(items: list[tuple[str, str]]) -> str:
    """Return names and values as a URL query string."""
    return urlencode(items)


def spelled(value: Any) -> str:
    """Return a field's value as a query string spells it, not yet escaped."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "1" if value else "0"
    return repr(value) if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class QueryString:
    """What a query string gave: valid values by field, names that are no fields, and an error for each bad value."""

    values: dict[str, Any]
    unknown: tuple[str, ...]
    errors: tuple[MhaVizError, ...]


def read_query(settings: type, text: str) -> QueryString:
    """Read the fields of a settings dataclass from a query string; nothing in it is evaluated.

    A repeated field takes its last value.
    """
    if len(text) > MAX_QUERY_CHARS:
        error = ScenarioError(f"The link may have at most {MAX_QUERY_CHARS:,} characters, not {len(text):,}.")
        return QueryString({}, (), (error,))
    spelled = dict(parse_qsl(text.lstrip("?"), keep_blank_values=True))
    known = metadata(settings)
    values: dict[str, Any] = {}
    errors: list[MhaVizError] = []
    for name in spelled.keys() & known.keys():
        try:
            values[name] = normalise(_parsed(settings, name, spelled[name]), settings, name)
        except MhaVizError as error:
            errors.append(error)
    return QueryString(values, tuple(n for n in spelled if n not in known), tuple(errors))


def _parsed(settings: type, name: str, spelled: str) -> Any:
    kind, optional = kinds(settings)[name]
    if optional and spelled == "none":
        return None
    if kind is bool:
        return _SWITCHES.get(spelled.lower(), spelled)
    if kind in (int, float):
        try:
            return kind(spelled)
        except ValueError:
            return spelled
    return spelled


def nearest(settings: type[S], values: Mapping[str, Any]) -> tuple[S, list[MhaVizError]]:
    """Return settings with as many of these valid values as fit each other, and why the others were left out."""
    kept, errors = dict(values), list[MhaVizError]()
    while True:
        try:
            return settings(**kept), errors
        except MhaVizError as error:
            errors.append(error)
            del kept[_to_drop(settings, kept, error.field)]


def _to_drop(settings: type, values: dict[str, Any], blamed: str) -> str:
    """Choose the one value without which the others fit, or else the one that the error blames."""
    candidates = sorted(values, key=lambda name: name != blamed)
    for name in candidates:
        try:
            settings(**{n: v for n, v in values.items() if n != name})
        except MhaVizError:
            continue
        return name
    return candidates[0]
