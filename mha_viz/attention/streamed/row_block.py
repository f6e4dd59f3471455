"""The weights of a few rows over all keys, made tile by tile and normalised when the last tile is in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mha_viz.attention.streamed.look import Look
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
        powers: exp(score - reference), [keys, rows]; None where they are not kept.
        shifted: Whether `reference` is not 0 for all rows.
        reference: What was subtracted from each row's scores, [rows].
        top: Largest score of each row, [rows].
        moment: Sum of powers times (score - reference) in bits over the keys, [rows]; anything where they are not kept.
        total: Sum of powers, [rows]; likewise. It is added up in another order than the overview's.
        away: Sum of powers times |q - k|, [rows]; likewise.
    """

    tile: Tile
    columns: slice
    powers: Tensor | None
    shifted: bool
    reference: Tensor
    top: Tensor
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

    def __init__(self, operands: Operands, at: tuple[int, int], look: Look, side: int, scratch: Scratch) -> None:
        """Begin a block of which all tiles that are looked at will be added."""
        self.operands, self.at, self.rows, self.side = operands, at, look.rows, side
        self.count = look.count
        keys = operands.key.shape[2]
        columns = -(-keys // side)
        self.tops = scratch("tops", columns, self.count)
        self.sums = scratch("sums", columns, self.count)
        if sum(map(len, look.tiles)) < keys:
            self.tops.fill_(MASKED_SCORE)
            self.sums.zero_()
        # A part's five tensors lie here: beside a tile's scores they would keep that memory from being used again.
        self._numbers = iter(scratch("numbers", 5 * len(look.tiles), self.count).split(5))
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
        reference, top, *sums = next(self._numbers)
        torch.amax(self.tops[columns], 0, out=top)
        far = _far(top)
        part = Part(tile, columns, kept, far is not None, reference, top, *sums)
        if far is None:
            reference.zero_()
        else:
            scores.sub_(reference.copy_(top).masked_fill_(~far, 0.0))
        powers = torch.exp2(scores.mul_(BITS), out=scores if kept is None else kept)
        pool(powers, self.side, torch.sum, self.sums[columns])
        if kept is not None:
            torch.sum(scores.mul_(powers), 0, out=part.moment)
            self._away(part, powers, scores)
        self.parts.append(part)

    def _away(self, part: Part, powers: Tensor, scratch: Tensor) -> None:
        """Sum powers, and powers times |q - k|; tiles beside the diagonal need only one product for both."""
        start, stop = self.rows
        tile = part.tile
        own = self.operands.sight.sizes[3]
        query = torch.arange(start - tile.start, stop - tile.start, device=powers.device, dtype=powers.dtype)
        key = torch.arange(len(tile), device=powers.device, dtype=powers.dtype)
        if tile.stop <= own and (tile.stop <= start + 1 or tile.start >= stop - 1):
            total, keys = torch.stack([torch.ones_like(key), key]) @ powers
            part.total.copy_(total)
            torch.sub(query * total, keys, out=part.away)
            if tile.stop > start + 1:
                part.away.neg_()
        else:
            torch.sub(key[:, None], query[None, :], out=scratch).abs_()[max(0, own - tile.start) :] = 0.0
            torch.sum(powers, 0, out=part.total)
            torch.sum(scratch.mul_(powers), 0, out=part.away)

    def finish(self) -> None:
        """Bring all tiles to one reference for each row, and normalise."""
        if any(part.shifted for part in self.parts):
            self._refer()
        total = self.sums.sum(0)
        self.inverse = 1 / total
        self.good = self.inverse.isfinite()
        self.tops.sub_(self.reference).mul_(BITS).exp2_().mul_(self.inverse)

    def _refer(self) -> None:
        marked = [part.reference.where(part.top > EMPTY, MASKED_SCORE) for part in self.parts]
        highest = torch.stack(marked).amax(0)
        self.reference = highest.where(~(highest <= EMPTY), 0.0)
        for part in self.parts:
            below = (part.reference - self.reference).mul_(BITS).where(part.top > EMPTY, 0.0)
            factor = below.exp2()
            if part.powers is not None:
                part.moment = (part.moment + below * part.total) * factor
                part.total, part.away = part.total * factor, part.away * factor
                part.powers.mul_(factor)
            self.sums[part.columns] *= factor


def _far(top: Tensor) -> Tensor | None:
    """Return in which rows the largest power would overflow or vanish, bool [rows]; None if it is none."""
    least, most = (float(end) for end in top.aminmax())
    if least >= -LIMIT and most <= LIMIT:
        return None
    far = (top.abs() > LIMIT) & (top > EMPTY)
    return far if bool(far.any()) else None
