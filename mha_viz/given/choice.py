"""Which mask was brought, as one frozen value of primitives: a way of writing the intended one wrong, or a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mha_viz import settings
from mha_viz.doctor import MISTAKES, RULES
from mha_viz.errors import ScenarioError
from mha_viz.inputs import store
from mha_viz.inputs.raw_mask import RawMask
from mha_viz.inputs.upload import Upload
from mha_viz.scenario import Scenario
from mha_viz.settings import Checked, setting

GROUP = "Mask given"
CORRECT = "none"


def _canonical_fixed(value: Any) -> str:
    """Spell rules as `inverted-mask, float-mask`; a sequence of their names is taken too."""
    names = [name.strip() for name in (str(value).split(",") if isinstance(value, str) else value)]
    names = [name for name in names if name]
    for name in names:
        if name not in RULES:
            raise ScenarioError(f"fixed must name rules of the doctor, not {name[:60]!r}.", field="fixed")
    return ", ".join(names)


@dataclass(frozen=True)
class Given(Checked):
    """The mask as it is passed to the layer; what was intended is the Scenario's mask.

    Raises:
        ScenarioError: A value is not one of those allowed.
    """

    mistake: str = setting(
        "inverted",
        group=GROUP,
        choices=(CORRECT, *MISTAKES),
        label="what is wrong with it",
        help="The intended mask as people often write it wrongly; none: as it should be.",
    )
    file: str = setting("", group=GROUP, label="mask file", help="The uploaded or pasted mask; it goes first.")
    role: str = setting(
        "attn_mask",
        group=GROUP,
        choices=("attn_mask", "key_padding_mask"),
        label="passed as",
        help="Which argument the uploaded mask is, where the file does not say.",
    )
    api: str = setting(
        "mha",
        group=GROUP,
        choices=("mha", "sdpa"),
        label="passed to",
        help="mha: nn.MultiheadAttention, where True means ignore. sdpa: F.scaled_dot_product_attention, where True "
        "means attend.",
    )
    fixed: str = setting(
        "",
        group=GROUP,
        max_chars=1_000,
        canonical=_canonical_fixed,
        help="The rules whose fixes have been applied to the mask, in order.",
    )

    @property
    def fixes(self) -> tuple[str, ...]:
        """The rules of `fixed`."""
        return tuple(self.fixed.split(", ")) if self.fixed else ()

    @property
    def before(self) -> Given | None:
        """What was given before the last fix; None if nothing was fixed."""
        return replace(self, fixed=", ".join(self.fixes[:-1])) if self.fixes else None


def hold(raw: RawMask) -> str:
    """Keep a mask that was read, and return the text that a Given names it by."""
    return store.put(Upload(raw.name, raw.digest, raw.tensors, {}))


def fitted(s: Scenario, raw: RawMask, role: str) -> Scenario:
    """Return the Scenario with the sizes that a mask asks for; its other settings stay.

    Args:
        s: The settings.
        raw: The mask; (L, S), (N * H, L, S) or (N, H, L, S), or (N, S) for a padding mask.
        role: What a mask without a name is, `attn_mask` or `key_padding_mask`.

    Raises:
        ScenarioError: A side of the mask is longer than a sequence can be.
    """
    changes: dict[str, int | None] = {}
    for name, tensor in raw.tensors.items():
        *outer, last = tensor.shape
        if (name or role) == "key_padding_mask":
            changes |= {"query_len": last, "key_len": None, "batch_size": outer[0] if outer else s.batch_size}
        elif outer:
            length = outer[-1]
            changes |= {"query_len": length, "key_len": None if length == last else last}
            if len(outer) == 2 and outer[0] % s.num_heads == 0:
                changes["batch_size"] = outer[0] // s.num_heads
            elif len(outer) == 3:
                changes["batch_size"] = outer[0]
    return Scenario(**{**{name: getattr(s, name) for name in settings.metadata(Scenario)}, **changes})
