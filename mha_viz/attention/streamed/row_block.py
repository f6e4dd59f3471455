"""The weights of a few rows over all keys, made tile by tile and normalised when the last tile is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.attention.streamed.operands import BITS, MASKED_SCORE, Hidden, Operands
from mha_viz.attention.streamed.plan import Tile

EMPTY = MASKED_SCORE / 2  # a row with no larger score has seen no key
# Rows whose largest score is within ±LIMIT are exponentiated as they are, which saves a pass and loses no digit.
LIMIT = 16.0


class Scratch:
    """Tensors that one thread uses again and again, since fresh memory costs a fault for each page."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._held: dict[str, Tensor] = {}

    def __call__(self, name: str, rows: int, columns: int) -> Tensor:
        """Return [rows, columns] that hold anything."""
        held = self._held.get(name)
        if held is None or held.numel() < rows * columns:
            held = self._held[name] = self._like.new_empty(rows * columns)
        return held[: rows * columns].view(rows, columns)


@dataclass(eq=False)
class Part:
    """One tile of the block. A row's numbers are relative to its `reference` until the block is finished.

    Attributes:
        tile: Its keys.
        columns: Its columns of the overview.
        top: Largest score of each row, [rows].
        reference: What was subtracted from each row's scores, [rows]; None for nothing.
        powers: exp(score - reference), [keys, rows]; None where they are not kept.
        moment: Sum of powers times (score - reference) in bits over the keys, [rows]; 0 where they are not kept.
        total: Sum of powers, [rows]; likewise. It is added up in another order than the overview's.
        away: Sum of powers times |q - k|, [rows]; likewise.
    """

    tile: Tile
    columns: slice
    top: Tensor
    reference: Tensor | None
    powers: Tensor | None
    moment: Tensor
    total: Tensor
    away: Tensor


def pool(values: Tensor, side: int, how: Callable[..., Tensor], out: Tensor) -> None:
    """Write [ceil(keys / side), ...] to `out`: blocks of `side` keys reduced by `torch.amax` or `torch.sum`."""
    whole = len(values) // side
    if whole:
        how(values[: whole * side].unflatten(0, (whole, side)), dim=1, out=out[:whole])
    if whole * side < len(values):
        how(values[whole * side :], dim=0, out=out[whole])


class RowBlock:
    """Rows `start` to `stop` of one head of one item.

    Attributes:
        tops: [columns, rows], the largest score of each block of `side` keys; once finished the largest weight.
        sums: [columns, rows], the sum of the powers of each block of keys.
        reference: [rows], and
        inverse: [rows]: a weight is exp(score - reference) * inverse, NaN or inf for a row that has none.
        good: [rows], whether it has.
        parts: The tiles that were not skipped, in order.
    """

    def __init__(
        self, operands: Operands, at: tuple[int, int], rows: tuple[int, int], side: int, scratch: Scratch, whole: bool
    ) -> None:
        """Begin a block; `whole` says that no tile of it will be skipped, which saves filling in what they leave."""
        self.operands, self.at, self.rows, self.side = operands, at, rows, side
        self.scratch = scratch
        self.count = rows[1] - rows[0]
        columns = -(-operands.key.shape[2] // side)
        self.tops = scratch("tops", columns, self.count)
        self.sums = scratch("sums", columns, self.count)
        if not whole:
            self.tops.fill_(MASKED_SCORE)
            self.sums.zero_()
        self.parts: list[Part] = []
        self.reference = self.inverse = self.tops.new_zeros(self.count)
        self.good = torch.zeros(self.count, dtype=torch.bool, device=self.tops.device)

    def add(self, tile: Tile, hidden: Hidden, kept: Tensor | None) -> None:
        """Take in one tile.

        Args:
            tile: Its keys.
            hidden: Slices of the tile's keys, and what is masked there, [keys, rows].
            kept: Where its powers go, [keys, rows]; None if they are not needed any more.
        """
        scores = self.operands.tile(*self.at, self.rows, tile, hidden)
        columns = slice(tile.start // self.side, -(-tile.stop // self.side))
        pool(scores, self.side, torch.amax, self.tops[columns])
        top = self.tops[columns].amax(0)
        reference = _reference(top)
        if reference is not None:
            scores.sub_(reference)
        powers = torch.exp2(scores.mul_(BITS), out=scores if kept is None else kept)
        pool(powers, self.side, torch.sum, self.sums[columns])
        moment = total = away = top.new_zeros(())
        if kept is not None:
            moment = scores.mul_(powers).sum(0)
            total, away = self._away(tile, powers, scores)
        self.parts.append(Part(tile, columns, top, reference, kept, moment, total, away))

    def _away(self, tile: Tile, powers: Tensor, scratch: Tensor) -> tuple[Tensor, Tensor]:
        """Sum powers, and powers times |q - k|; tiles beside the diagonal need only one product for both."""
        start, stop = self.rows
        own = self.operands.sight.sizes[3]
        query = torch.arange(start - tile.start, stop - tile.start, device=powers.device, dtype=powers.dtype)
        key = torch.arange(len(tile), device=powers.device, dtype=powers.dtype)
        if tile.stop <= own and (tile.stop <= start + 1 or tile.start >= stop - 1):
            total, keys = torch.stack([torch.ones_like(key), key]) @ powers
            steps = query * total - keys
            return total, steps if tile.stop <= start + 1 else -steps
        torch.sub(key[:, None], query[None, :], out=scratch).abs_()[max(0, own - tile.start) :] = 0.0
        return powers.sum(0), scratch.mul_(powers).sum(0)

    def finish(self) -> None:
        """Bring all tiles to one reference for each row, and normalise."""
        if any(part.reference is not None for part in self.parts):
            self._refer()
        total = self.sums.sum(0)
        self.inverse = 1 / total
        self.good = self.inverse.isfinite()
        self.tops.sub_(self.reference).mul_(BITS).exp2_().mul_(self.inverse)

    def _refer(self) -> None:
        own = [part.top.new_zeros(()) if part.reference is None else part.reference for part in self.parts]
        marked = [
            reference.where(part.top > EMPTY, MASKED_SCORE) for reference, part in zip(own, self.parts, strict=True)
        ]
        highest = torch.stack(marked).amax(0)
        self.reference = highest.where(~(highest <= EMPTY), 0.0)
        for reference, part in zip(own, self.parts, strict=True):
            below = (reference - self.reference).mul_(BITS).where(part.top > EMPTY, 0.0)
            factor = below.exp2()
            if part.powers is not None:
                part.moment = (part.moment + below * part.total) * factor
                part.total, part.away = part.total * factor, part.away * factor
                part.powers.mul_(factor)
            self.sums[part.columns] *= factor


def _reference(top: Tensor) -> Tensor | None:
    """Return what to subtract so that the largest power of each row neither overflows nor vanishes."""
    least, most = (float(end) for end in top.aminmax())
    if least >= -LIMIT and most <= LIMIT:
        return None
    far = (top.abs() > LIMIT) & (top > EMPTY)
    return top.where(far, 0.0) if bool(far.any()) else None
