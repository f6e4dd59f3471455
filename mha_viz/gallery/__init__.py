"""Small setups that show something at once, each a Scenario with a name and a sentence."""

from __future__ import annotations

from mha_viz.errors import ScenarioError
from mha_viz.gallery.example import EXPLORE, MASK_PAGE, Example
from mha_viz.gallery.pitfalls import PITFALLS, of_mistake
from mha_viz.gallery.setups import SETUPS
from mha_viz.gallery.stacks import STACKS
from mha_viz.scenario import Scenario

__all__ = [
    "EXAMPLES",
    "EXPLORE",
    "MASK_PAGE",
    "PITFALLS",
    "SETUPS",
    "STACKS",
    "Example",
    "name_of",
    "named",
    "of_mistake",
]

EXAMPLES = (*SETUPS, *STACKS, *PITFALLS)


def named(name: str) -> Example:
    """Return the example of that name.

    Raises:
        ScenarioError: There is none.
    """
    for example in EXAMPLES:
        if example.name == name:
            return example
    raise ScenarioError(f"No example is named {name[:60]!r}: the names are {', '.join(e.name for e in EXAMPLES)}.")


def name_of(scenario: Scenario) -> str | None:
    """Return the name of the example that is exactly this Scenario, or None."""
    return next((example.name for example in (*SETUPS, *STACKS) if example.scenario == scenario), None)
