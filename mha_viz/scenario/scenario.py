"""The Scenario itself: all fields together, and which of them fit each other."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mha_viz import settings
from mha_viz.errors import ScenarioError
from mha_viz.scenario.input_fields import INPUTS, InputFields
from mha_viz.scenario.layer_fields import LAYER, RUN, LayerFields, RunFields
from mha_viz.scenario.mask_fields import MASKS, MaskFields
from mha_viz.scenario.stack_fields import ATTENTION, ENCODER, STACK, StackFields
from mha_viz.settings import Checked

GROUPS = (INPUTS, MASKS, LAYER, STACK, RUN)


# A dataclass collects its fields from the last base to the first, so they stand in the order of GROUPS.
@dataclass(frozen=True)
class Scenario(RunFields, StackFields, LayerFields, MaskFields, InputFields, Checked):
    """Everything a run depends on: the layer or the stack, its inputs, its masks, and how it is called.

    Raises:
        ScenarioError: A field has the wrong type or is out of bounds, or two fields do not fit each other.
        MaskError: A mask or `score_bias` cannot be read.

    Example:
        >>> Scenario(embed_dim=64, num_heads=4, query_len=16, mask="causal & window(4)", seed=0)
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_layer(self)
        if self.stack != ATTENTION:
            _check_stack(self)

    @property
    def cross_attention(self) -> bool:
        """Whether key and value are tensors of their own rather than the query."""
        separate = {"text": self.key_text.strip(), "table": self.key_table.strip(), "upload": self.key_file}
        resized = {self.kdim, self.vdim} - {None, self.embed_dim}
        return bool(self.key_len is not None or separate.get(self.source) or resized)

    @property
    def alone(self) -> Scenario:
        """The same layer without a stack around it."""
        return self if self.stack == ATTENTION else replace(self, stack=ATTENTION)

    def to_query(self) -> str:
        """Return the settings that differ from their defaults as a URL query string."""
        return settings.to_query(self)

    @classmethod
    def from_query(cls, text: str) -> Scenario:
        """Return the Scenario that a query string gives; settings it doesn't know are ignored.

        Raises:
            MhaVizError: A known setting has a value that is not allowed, or two do not fit each other.
        """
        read = settings.read_query(cls, text)
        if read.errors:
            raise read.errors[0]
        return cls(**read.values)


def _check_layer(s: Scenario) -> None:
    if s.embed_dim % s.num_heads:
        nearest = max(h for h in range(1, s.num_heads + 1) if s.embed_dim % h == 0)
        message = (
            f"num_heads must divide embed_dim, but {s.embed_dim} / {s.num_heads} is not a whole number: "
            f"try num_heads={nearest} or embed_dim={s.num_heads * max(1, round(s.embed_dim / s.num_heads))}."
        )
        raise ScenarioError(message, field="num_heads")
    if s.unbatched and s.batch_size not in (None, 1):
        message = f"unbatched=True has no batch dimension, so batch_size must be 1 or None, not {s.batch_size}."
        raise ScenarioError(message, field="unbatched")
    if s.is_causal and s.mask == "full" and not s.score_bias:
        message = (
            "is_causal=True is a hint about attn_mask and the module refuses it without one, but mask is 'full': "
            "set mask='causal' or is_causal=False."
        )
        raise ScenarioError(message, field="is_causal")


# What torch's stacks have no argument for, or decide themselves, and the only value that it has there.
_FIXED_IN_STACKS = {
    "add_bias_kv": (False, "has no extra keys"),
    "add_zero_attn": (False, "has no extra keys"),
    "is_causal": (False, "finds out itself whether its masks are causal"),
    "need_weights": (True, "calls its attention itself"),
    "average_attn_weights": (False, "calls its attention itself"),
    "unbatched": (False, "is handed a batch here"),
}


def _check_stack(s: Scenario) -> None:
    whose = f"stack={s.stack!r}"
    for name, (only, why) in _FIXED_IN_STACKS.items():
        if getattr(s, name) != only:
            message = f"{whose} {why}, so {name} must be {only}: set {name}={only} or stack='attention'."
            raise ScenarioError(message, field=name)
    for name in ("kdim", "vdim"):
        size = getattr(s, name)
        if size not in (None, s.embed_dim):
            message = (
                f"{whose} has vectors of one size, so {name} must be None or embed_dim {s.embed_dim}, not {size}: "
                f"set {name}=None or stack='attention'."
            )
            raise ScenarioError(message, field=name)
    if s.stack == ENCODER and s.cross_attention:
        separate = {"text": "key_text", "table": "key_table", "upload": "key_file"}
        name = "key_len" if s.key_len is not None else separate[s.source]
        empty = "None" if s.key_len is not None else "''"
        message = (
            f"stack='encoder' attends to its own query alone, so {name} must be {empty}: empty it, or set "
            "stack='decoder' or stack='encoder-decoder'."
        )
        raise ScenarioError(message, field=name)
