"""The rest: masks that do something other than what was asked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mha_viz.doctor import wording
from mha_viz.doctor.case import Case
from mha_viz.doctor.reading import fit, same, some
from mha_viz.doctor.registry import Fix, Symptom, rule
from mha_viz.doctor.rules.fixes import every
from mha_viz.masks import mask
from mha_viz.masks.base import Mask
from mha_viz.masks.encode import as_given


def _attn_rebuilt(case: Case, intent: Mask) -> Fix:
    n, h, queries, keys = (size or 1 for size in case.sizes)
    by_item, by_head = "b" in intent.variables, "h" in intent.variables
    lines = [f"N, H, L, S = {n}, {h}, {queries}, {keys}", "q, k = torch.arange(L)[:, None], torch.arange(S)"]
    shape, flat = "L, S", ""
    if by_item or by_head:
        lines.append("b, h = torch.arange(N)[:, None, None, None], torch.arange(H)[:, None, None]")
        shape, flat = "N, H, L, S", "" if case.api == "sdpa" else ".flatten(0, 1)"
    turn = "" if case.api == "sdpa" else "~"
    lines.append(f"attn_mask = {turn}({intent.code()}).expand({shape}){flat}")
    hint = case.is_causal and case.api == "mha"
    if _hint_hides(case):
        lines.append("is_causal = False")

    def apply(c: Case) -> Case:
        allowed = c.intended_attn
        assert allowed is not None
        if not (by_item or by_head):
            return c.but(attn_mask=as_given(allowed[0, 0], c.api), is_causal=hint)
        allowed = allowed.expand(n, h, -1, -1)
        made = allowed if c.api == "sdpa" else allowed.flatten(0, 1)
        return c.but(attn_mask=as_given(made, c.api), is_causal=hint)

    return Fix("\n".join(lines), apply)


def _padding_rebuilt(case: Case, intent: Mask) -> Fix:
    n, h, queries, keys = (size or 1 for size in case.sizes)
    code = (
        f"N, H, L, S = {n}, {h}, {queries}, {keys}\n"
        "b, k = torch.arange(N)[:, None], torch.arange(S)\n"
        f"key_padding_mask = ~({intent.code()}).expand(N, S)"
    )
    wanted = case.intended_padding
    assert wanted is not None
    return Fix(code, lambda c: c.but(key_padding_mask=as_given(wanted[:, 0, 0])))


def _rebuilt(case: Case) -> Fix:
    fixes = []
    if case.intents[0] is not None and _difference(_shown(case), case.intended_attn) is not None:
        fixes.append(_attn_rebuilt(case, case.intents[0]))
    if case.intents[1] is not None and _difference(case.padding_allowed, case.intended_padding) is not None:
        fixes.append(_padding_rebuilt(case, case.intents[1]))
    return every(fixes)


def _hint_hides(case: Case) -> bool:
    """Say whether is_causal hides the future by itself, beside `attn_mask`."""
    return case.is_causal and case.api == "sdpa"


def _shown(case: Case) -> Tensor | None:
    """Return what `attn_mask` and is_causal allow together, [1 or N, 1 or H, L, S]; None where it can't be read."""
    allowed = case.attn_allowed
    if allowed is None or not _hint_hides(case):
        return allowed
    return allowed & torch.ones_like(allowed[0, 0]).tril()


def _difference(allowed: Tensor | None, wanted: Tensor | None) -> Tensor | None:
    """Return where two masks differ; None where they do not, or can't be compared.

    Rows for which nothing is asked are left out: whatever they see, their output is to be ignored.
    """
    if allowed is None or wanted is None or not fit(allowed.shape, wanted.shape) or same(allowed, wanted):
        return None
    other = allowed ^ wanted
    other &= some(wanted, -1)[..., None]
    return other if some(other) else None


def _merged_as_intended(case: Case) -> bool:
    """Say whether both masks together are what was asked for, whichever of them hides what."""
    attn, padding = _shown(case), case.padding_allowed
    for_attn, for_keys = case.intended_attn, case.intended_padding
    if attn is None or padding is None or for_keys is None or (for_attn is None and case.intents[0] is not None):
        return False
    return all(
        same(_item(attn, n) & keys, for_keys[n] if for_attn is None else _item(for_attn, n) & for_keys[n])
        for n, keys in enumerate(padding)
    )


def _arguments(case: Case) -> str:
    """Say what hides keys from queries, as the subject of a sentence."""
    if case.attn_mask is None:
        return "is_causal=True alone" if _hint_hides(case) else "The call without attn_mask"
    return "attn_mask with is_causal=True" if _hint_hides(case) else "attn_mask"


def _item(masks: Tensor, n: int) -> Tensor:
    return masks[min(n, len(masks) - 1)]


@rule(
    "differs-from-intent",
    "error",
    "The mask is not what was asked for",
    why="The cells of the mask were compared with the intent, one by one, and some differ, in a way that is none of "
    "the usual mistakes. A cell that is visible and should not be is a leak: training looks better than it is.",
    pitfall="P1",
    good=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(1), intent=mask("causal")),
    bad=lambda: Case(attn_mask=torch.ones(4, 4, dtype=torch.bool).triu(2), intent=mask("causal")),
    remedy=_rebuilt,
    explained_by=(
        "inverted-mask",
        "diagonal-masked",
        "inverted-padding",
        "padding-transposed",
        "repeat-order",
        "additive-ones",
        "additive-padding",
        "integer-mask",
        "causal-hint-alone",
        "causal-alignment",
        "padding-with-sdpa",
    ),
)
def differs_from_intent(case: Case) -> Iterator[Symptom]:
    """Compare both masks with the intent."""
    pairs = (
        (_arguments(case), _shown(case), case.intended_attn, case.intents[0]),
        ("key_padding_mask", case.padding_allowed, case.intended_padding, case.intents[1]),
    )
    differing = [(*pair, other) for pair in pairs if (other := _difference(pair[1], pair[2])) is not None]
    if not differing or _merged_as_intended(case):
        return
    for name, allowed, _, intent, other in differing:
        assert allowed is not None
        open_, total = int((other & allowed).count_nonzero()), int(other.count_nonzero())
        yield Symptom(
            f"{name} does not allow what '{intent}' allows.",
            f"{total} cells differ: {open_} visible that should be hidden, {total - open_} hidden that should be "
            f"visible; {wording.cells(other)}",
            wording.positions(other),
        )
