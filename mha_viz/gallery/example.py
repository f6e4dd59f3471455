"""One entry of the gallery."""

from __future__ import annotations

from dataclasses import dataclass

from mha_viz.given import Given
from mha_viz.scenario import Scenario

EXPLORE, MASK_PAGE = "explore", "masks"


@dataclass(frozen=True)
class Example:
    """One entry of the gallery.

    Attributes:
        name: Unique, short.
        group: Heading that it stands under.
        shows: One sentence: what there is to see.
        scenario: The setup.
        output: Shape of the output that the tutorial states, as its own layout has it; None if it is from none.
        given: The mask brought to the Masks page; None for an example of the Explore page.
        rule: Id of the doctor's rule that must find it; empty where nothing is to be found.
        item: The batch item to look at.
    """

    name: str
    group: str
    shows: str
    scenario: Scenario
    output: tuple[int, ...] | None = None
    given: Given | None = None
    rule: str = ""
    item: int = 0

    @property
    def page(self) -> str:
        """The page that shows it: the stem of its file."""
        return EXPLORE if self.given is None else MASK_PAGE
