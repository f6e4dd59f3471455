"""Which of the ways in the page Your model shows, as a value that the link holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mha_viz.pretrained import Reading
from mha_viz.settings import Checked, setting
from mha_viz.ui import origin
from mha_viz.ui.origin import RunFile

FILE, MODEL, CODE = "file", "model", "code"
AUTOMATIC = "automatic"


@dataclass(frozen=True)
class WayIn(Checked):
    """How a model comes to the page."""

    way: str = setting(
        AUTOMATIC,
        group=origin.GROUP,
        choices=(AUTOMATIC, FILE, MODEL, CODE),
        help="file: what run.save(...) wrote. model: a pretrained text or image model. code: how to capture a model of "
        "your own. automatic: the first of these that there is something of.",
    )

    def shown(self, chosen: Callable[[type], Any]) -> str:
        """Return which way in is shown.

        Args:
            chosen: Returns the session's settings of a kind.
        """
        if self.way != AUTOMATIC:
            return self.way
        if chosen(RunFile).run_file or os.environ.get(origin.RUN_VARIABLE):
            return FILE
        return MODEL if chosen(Reading).model else CODE

    def origin(self, chosen: Callable[[type], Any]) -> RunFile | Reading | None:
        """Return what the page shows a run of, or None where there is nothing yet.

        Args:
            chosen: Returns the session's settings of a kind.
        """
        way = self.shown(chosen)
        if way == FILE:
            file: RunFile = chosen(RunFile)
            return file if origin.name(file) else None
        reading: Reading = chosen(Reading)
        return reading if way == MODEL and reading.model else None
