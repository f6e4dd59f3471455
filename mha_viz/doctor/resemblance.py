"""What a mask would be if it were turned round: a guess, for where nobody said what is meant."""

from __future__ import annotations

from torch import Tensor

from mha_viz.doctor import reading
from mha_viz.masks.recognise import recognise

MOST_CELLS = 2**26  # a guess is worth some seconds
SMALLEST = 3  # with less, a mask and its opposite are both patterns


def opposite_of(allowed: Tensor) -> str | None:
    """Return the known pattern that a mask is the exact opposite of, if it is no known pattern itself.

    Nearly every pattern lets queries see themselves, so a mask that shows most of the diagonal is not looked at; nor
    is one that hides nothing else, since seeing all but oneself is asked for on purpose.

    Args:
        allowed: Bool [1 or N, 1 or H, L, S], True where a query may attend.

    Returns:
        A text of the mask language, or None.
    """
    own = allowed.diagonal(dim1=-2, dim2=-1)
    hidden = own.numel() - reading.counted(own)
    if min(allowed.shape[-2:]) < SMALLEST or allowed.numel() > MOST_CELLS or 2 * hidden <= own.numel():
        return None
    if allowed.numel() - reading.counted(allowed) == hidden:
        return None
    # Here True is "attend", as in "sdpa": the other convention is the mask turned round.
    exact = {one.convention: one.mask for one in reversed(recognise(allowed)) if one.agreement == 1}
    return None if "sdpa" in exact else exact.get("mha")
