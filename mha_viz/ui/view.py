"""What of a run is on the screen: which layer, item, head and cell, and how colours are scaled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mha_viz.attention.runs import Run
from mha_viz.figures.grammar import SCALES, Scale
from mha_viz.settings import Checked, setting
from mha_viz.ui.inside_steps import ALL, NAMES

VIEW = "View"
HEATMAP, LINES, TOKENS = "heatmaps", "lines", "tokens"
AUTO = "auto"


@dataclass(frozen=True)
class View(Checked):
    """The choices that change no number, only what is shown; the link carries them beside the Scenario."""

    show: str = setting(
        HEATMAP,
        group=VIEW,
        choices=(HEATMAP, LINES, TOKENS),
        help="Heatmaps of all heads; lines from query to key tokens; or the text, shaded by one query's weights.",
    )
    scale: str = setting(
        AUTO,
        group=VIEW,
        choices=(AUTO, *SCALES),
        label="colour scale",
        help="What a colour means. shared: the weight itself, the same in every head. per head, per row: its share of "
        "the largest weight there. log: powers of ten, so that small weights show. Unless chosen (auto) it is shared, "
        "and log for a long sequence.",
    )
    layer: int = setting(0, group=VIEW, low=0, high=4_095, help="Which attention layer is shown, in call order.")
    item: int = setting(0, group=VIEW, low=0, high=4_095, label="batch item", help="Which item of the batch is shown.")
    head: int = setting(0, group=VIEW, low=0, high=255, help="Which head is shown large.")
    query: int | None = setting(None, group=VIEW, low=0, high=131_071, help="The chosen cell's query token.")
    key: int | None = setting(None, group=VIEW, low=0, high=131_073, help="The chosen cell's key token.")
    step: str = setting(ALL, group=VIEW, choices=NAMES, help="Which step of the Inside page is opened.")
    change: bool = setting(False, group=VIEW, help="Whether the Inside page shows what the edits changed.")

    @property
    def colours(self) -> Scale:
        """The colour scale, as figures name it."""
        return next((scale for scale in SCALES if scale == self.scale), "shared")

    def cell(self, *, panel: int) -> tuple[int, int, int] | None:
        """Return (panel, query, key) of the chosen cell, or None."""
        return None if self.query is None or self.key is None else (panel, self.query, self.key)

    def within(self, run: Run) -> View:
        """Return the view for a run: indices that it doesn't have put back to the first, or to none; its own scale."""
        layer = self.layer if self.layer < len(run.layers) else 0
        items, heads, length, keys = run.layers[layer].weights.shape
        cell = self.query is not None and self.key is not None and self.query < length and self.key < keys
        long = run.layers[layer].streamed is not None
        return replace(
            self,
            scale="log" if long and self.scale == AUTO else self.scale,
            layer=layer,
            item=self.item if self.item < items else 0,
            head=self.head if self.head < heads else 0,
            query=self.query if cell else None,
            key=self.key if cell else None,
        )
