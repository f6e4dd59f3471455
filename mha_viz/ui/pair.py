"""What the Compare page compares: two sides, each written as a small query string, so that a link holds both.

A side starts from what the session has on another page (the settings of Explore, the run file, or the pretrained
model) and names only what is different: `mask=full&head=2`, `of=file&layer=3`, `of=model&model_text=Hello`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from mha_viz import settings
from mha_viz.errors import MhaVizError, ScenarioError
from mha_viz.pretrained import Reading
from mha_viz.scenario import Scenario
from mha_viz.settings import Checked, setting
from mha_viz.ui.origin import Origin, RunFile

GROUP = "Compare"
EXPLORE, FILE, MODEL = "explore", "file", "model"
KINDS: dict[str, type] = {EXPLORE: Scenario, FILE: RunFile, MODEL: Reading}
MAX_SIDE = 30_000


@dataclass(frozen=True)
class Place(Checked):
    """Where a side comes from, and which picture of it is compared; what is None is what the view shows."""

    of: str = setting(
        EXPLORE,
        group=GROUP,
        choices=tuple(KINDS),
        label="comes from",
        help="explore: the settings of the Explore page. file, model: the run file or the pretrained model of the page "
        "Your model.",
    )
    layer: int | None = setting(None, group=GROUP, low=0, high=4_095, help="Which attention layer, in call order.")
    head: int | None = setting(None, group=GROUP, low=0, high=255, help="Which head.")
    average: bool = setting(False, group=GROUP, help="The average over heads, instead of one head.")
    item: int | None = setting(None, group=GROUP, low=0, high=4_095, label="batch item", help="Which batch item.")


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        place: Where it comes from.
        changes: Settings of that kind that are other than the session's, by name.
    """

    place: Place = Place()
    changes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Side:
        """Return the side that a query string names.

        Raises:
            MhaVizError: A name is not known, or a value is not allowed.
        """
        at = settings.read_query(Place, text)
        changes = settings.read_query(KINDS[at.values.get("of", EXPLORE)], text)
        for error in (*at.errors, *changes.errors):
            raise error
        for name in dict(parse_qsl(text, keep_blank_values=True)):
            if name in at.unknown and name in changes.unknown:
                raise ScenarioError(f"{name[:60]!r} is no setting of a side that is of={at.values.get('of', EXPLORE)}.")
        return cls(Place(**at.values), changes.values)

    @property
    def kind(self) -> type:
        """The kind of settings that it comes from."""
        return KINDS[self.place.of]

    def __str__(self) -> str:
        names = (name for name in settings.metadata(self.kind) if name in self.changes)
        changes = settings.encode_query([(name, settings.spelled(self.changes[name])) for name in names])
        return "&".join(part for part in (settings.to_query(self.place), changes) if part)

    def origin(self, chosen: Callable[[type], Any]) -> Origin:
        """Return what the side is a run of.

        Args:
            chosen: Returns the session's settings of a kind.

        Raises:
            MhaVizError: The changes do not fit the session's settings.
        """
        found: Origin = replace(chosen(self.kind), **self.changes)
        return found

    def but(self, **values: Any) -> Side:
        """Return the side with other values, of its place or of its changes; those of another kind are dropped."""
        at = {name: value for name, value in values.items() if name in settings.metadata(Place)}
        changes = {name: value for name, value in values.items() if name not in at}
        place = replace(self.place, **at)
        return Side(place, {**(self.changes if place.of == self.place.of else {}), **changes})


def _canonical(value: Any, name: str) -> str:
    if not isinstance(value, str | Side):
        raise ScenarioError(f"{name} must be a text, not {type(value).__name__}.", field=name)
    try:
        return str(Side.read(str(value)))
    except MhaVizError as error:
        raise ScenarioError(f"{name}: {error}", field=name) from None


@dataclass(frozen=True)
class Pair(Checked):
    """Two sides to compare.

    Raises:
        MhaVizError: A side cannot be read.
    """

    left: str = setting(
        "",
        group=GROUP,
        max_chars=MAX_SIDE,
        canonical=partial(_canonical, name="left"),
        help="What is different from the session's settings on the left, as in a link: `mask=causal&head=2`, "
        "`of=file&layer=3` or `of=model`.",
    )
    right: str = setting(
        "mask=full",
        group=GROUP,
        max_chars=MAX_SIDE,
        canonical=partial(_canonical, name="right"),
        help="The same for the right.",
    )

    @property
    def sides(self) -> tuple[Side, Side]:
        """Left and right."""
        return Side.read(self.left), Side.read(self.right)

    def over(self, s: Scenario) -> Pair:
        """Return the pair for Explore's settings: by default `mask=full` is compared with, or `causal` where it is."""
        return replace(self, right="mask=causal") if self == Pair() and s.mask == "full" else self
