"""Which model reads what, as one frozen value of primitives that a link holds."""

from __future__ import annotations

from dataclasses import dataclass

from mha_viz.settings import Checked, setting

GROUP = "Pretrained model"
BUILT_IN = "built-in"
"""The model that comes as a package, so that it is there without a network."""


@dataclass(frozen=True)
class Reading(Checked):
    """A model and what it is given.

    Raises:
        ScenarioError: A value is not one of those allowed.
    """

    model: str = setting(
        "",
        group=GROUP,
        max_chars=300,
        help="built-in, a folder on this machine, or a name on the Hugging Face hub, as google-bert/bert-base-cased.",
    )
    model_text: str = setting(
        "The animal didn't cross the street because it was too tired.",
        group=GROUP,
        label="text",
        max_chars=10_000,
        lines=4,
        help="What the model reads. Each line is one item of the batch; shorter lines are padded.",
    )
    model_text_2: str = setting(
        "",
        group=GROUP,
        label="second text",
        max_chars=10_000,
        lines=2,
        help="What the decoder of an encoder-decoder reads, the same text if it is empty. Other models: the second "
        "sentence of each pair.",
    )
    image: str = setting("", group=GROUP, help="The uploaded picture, for models that read pictures.")
