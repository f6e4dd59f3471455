"""Two sets of weights [L, S] and what differs between them: `right - left`, cell by cell and in a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mha_viz.attention.records import LayerAttention
from mha_viz.attention.runs import Run
from mha_viz.attention.stats import of_item
from mha_viz.errors import InputError, ScenarioError

CHANGED = 1e-6
"""A difference up to this counts as none: float32 computes the same weight in two ways to about 1e-7."""


@dataclass(frozen=True, eq=False)
class Selected:
    """One picture of a run: one head of one layer for one batch item, or the average over its heads.

    Attributes:
        run: The run.
        layer: Index into `run.layers`.
        head: Index into the layer's heads; None for their average.
        item: Batch item, below N.

    Raises:
        InputError: The run has no such layer, head or item.
    """

    run: Run
    layer: int = 0
    head: int | None = 0
    item: int = 0

    def __post_init__(self) -> None:
        _check("layer", self.layer, len(self.run.layers))
        items, heads = self.record.weights.shape[:2]
        _check("head", self.head or 0, heads)
        _check("item", self.item, items)

    @property
    def record(self) -> LayerAttention:
        """The layer."""
        return self.run.layers[self.layer]

    @property
    def title(self) -> str:
        """What it is called, such as `head 3`."""
        heads = self.record.weights.shape[1]
        return f"average of {heads} heads" if self.head is None else self.record.head_name(self.head)

    @property
    def weights(self) -> Tensor:
        """float32 [L, S] on the CPU."""
        of_all = self.record.average if self.head is None else self.record.held[:, self.head]
        return of_all[self.item].detach().float().cpu()

    @property
    def allowed(self) -> Tensor:
        """Bool [L, S] on the CPU: what the masks let through; in the average, through any head."""
        by_head = of_item(self.record.allowed, self.item).cpu()  # [H|1, L|1, S|1]
        found = by_head.any(dim=0) if self.head is None else by_head[self.head if len(by_head) > 1 else 0]
        return found.expand(self.record.weights.shape[2:])

    @property
    def query_tokens(self) -> tuple[str, ...]:
        """L labels."""
        return self.run.query_tokens(self.item, self.layer)

    @property
    def key_tokens(self) -> tuple[str, ...]:
        """S labels, those of extra columns included."""
        return self.run.key_tokens(self.item, self.layer)


def _check(name: str, index: int, end: int) -> None:
    if not 0 <= index < end:
        has = f"has {end}" if end > 1 else "has only one"
        raise InputError(f"{name} must be from 0 to {end - 1}, not {index}: this run {has}.", field=name)


@dataclass(frozen=True)
class Moved:
    """A cell whose weight differs.

    Attributes:
        query: Its row.
        key: Its column.
        left: Its weight on the left.
        right: Its weight on the right.
    """

    query: int
    key: int
    left: float
    right: float

    @property
    def change(self) -> float:
        """How much more it is on the right."""
        return self.right - self.left


@dataclass(frozen=True, eq=False)
class Comparison:
    """What differs between two pictures of one shape.

    Attributes:
        left: The one that is compared with.
        right: The other one.
        change: `right - left`, float32 [L, S]; NaN where either is NaN.
        hidden: Bool [L, S]: where the masks of both sides hide the key and neither has a weight.
        largest: The largest |change|; 0 where every cell is NaN.
        variation: Mean over rows of half the sum of |change|: the total variation distance, which for rows that sum
            to 1 is the share of attention that has moved; rows with a NaN on either side are left out, and NaN stands
            for no row at all.
        changed: Cells with |change| above `CHANGED`, and cells that are NaN on one side alone.
        nan_rows: Rows with a NaN on either side.
    """

    left: Selected
    right: Selected
    change: Tensor
    hidden: Tensor
    largest: float
    variation: float
    changed: int
    nan_rows: int

    @property
    def cells(self) -> int:
        """Cells in all, L · S."""
        return self.change.numel()

    def moved(self, count: int = 10) -> tuple[Moved, ...]:
        """Return the cells with the largest |change| above `CHANGED`, largest first, in reading order where equal.

        Args:
            count: How many at most, 1 or more.

        Raises:
            ScenarioError: It is less.
        """
        if count < 1:
            raise ScenarioError(f"count must be at least 1, not {count}.")
        size = self.change.abs().nan_to_num(nan=0.0).flatten()
        # A stable sort of all cells is only needed among those as large as the last one that is wanted.
        least = size.topk(min(count, len(size))).values[-1:].clamp(min=CHANGED)
        places = (size >= least).nonzero()[:, 0]
        order = size[places].argsort(descending=True, stable=True)
        left, right = self.left.weights.flatten(), self.right.weights.flatten()
        across = self.change.shape[1]
        return tuple(
            Moved(at // across, at % across, float(left[at]), float(right[at]))
            for at in places[order][:count].tolist()
            if float(size[at]) > CHANGED
        )

    def largest_in(self, query: int, key: int, side: int) -> tuple[int, int]:
        """Return (query, key) of the largest |change| in the block of `side` × `side` cells that starts at a cell.

        A block that starts outside [L, S] gives the last cell inside.
        """
        length, keys = self.change.shape
        query, key = min(query, length - 1), min(key, keys - 1)
        block = self.change[query : query + side, key : key + side].abs().nan_to_num(nan=-1.0)
        at = int(block.argmax())
        return query + at // block.shape[1], key + at % block.shape[1]


def compare(left: Selected, right: Selected) -> Comparison:
    """Return what differs between two pictures.

    Raises:
        InputError: They have different shapes, so there are no cells to compare.
    """
    a, b = left.weights, right.weights
    if a.shape != b.shape:
        raise InputError(
            "Cells can be compared only where both sides have the same number of queries and keys, but the left is "
            f"{_sizes(a)} and the right is {_sizes(b)}: choose texts, layers or files of the same lengths."
        )
    change = b - a
    broken = change.isnan()
    size = change.abs().masked_fill(broken, 0.0)
    rows = broken.any(dim=1)
    halves = size.sum(dim=1)[~rows] / 2
    return Comparison(
        left=left,
        right=right,
        change=change,
        hidden=~left.allowed & ~right.allowed & (a == 0) & (b == 0),
        largest=float(size.max()),
        variation=float(halves.double().mean()) if len(halves) else float("nan"),
        changed=int((size > CHANGED).sum()) + int((a.isnan() != b.isnan()).sum()),
        nan_rows=int(rows.sum()),
    )


def _sizes(weights: Tensor) -> str:
    return f"{weights.shape[0]:,} × {weights.shape[1]:,}"
