"""The settings of the Inside page: whose layer it is, and what is changed in it before its steps are computed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mha_viz.attention import edits as language
from mha_viz.settings import Checked, setting

GROUP = "Inside"
EXPLORE, MODEL = "explore", "model"


@dataclass(frozen=True)
class Inside(Checked):
    """Where the layer comes from, and edits of what goes into it as text; see `mha_viz.attention.edits`."""

    inside_of: str = setting(
        EXPLORE,
        group=GROUP,
        choices=(EXPLORE, MODEL),
        label="the layer of",
        help="explore: the settings of Explore. model: what the page Your model shows.",
    )
    edits: str = setting(
        "",
        group=GROUP,
        max_chars=language.MAX_CHARS,
        lines=3,
        canonical=lambda text: str(language.parse(text)) if isinstance(text, str) else text,
        help="Statements separated by ; such as mask[*, *, 2, 1] = hide; head[1] = off; temperature = 0.5; "
        "q_weight[0, 3] = 1.5; query[0, 2, 5] = −1.",
    )

    def with_edit(self, edit: language.Edit) -> Inside:
        """Return these settings with one more edit, in the place of an earlier one of the same number."""
        place = edit.name, edit.index
        kept = [old for old in language.parse(self.edits).statements if (old.name, old.index) != place]
        return replace(self, edits=str(language.Edits((*kept, edit))))
