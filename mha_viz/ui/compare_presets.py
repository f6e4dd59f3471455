"""What people compare most, each as a Pair made from what the session has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mha_viz.scenario import ATTENTION, DECODER, Scenario
from mha_viz.ui.pair import EXPLORE, FILE, MODEL, Pair, Place, Side

TEXTS = "the cat sat on the mat because the cat was tired\nthe dog ran to the door because the bell had rung"
DROPOUT = 0.3


@dataclass(frozen=True)
class Base:
    """What both sides start from.

    Attributes:
        scenario: The settings of Explore.
        of: What both sides come from, where the preset does not say it.
        layers: How many attention layers that has.
        items: How many batch items.
    """

    scenario: Scenario
    of: str = EXPLORE
    layers: int = 1
    items: int = 1

    @property
    def side(self) -> Side:
        """A side without changes."""
        return Side(Place(of=self.of))


Sides = tuple[Side, Side]


def _masks(base: Base) -> Sides:
    return base.side, base.side.but(mask="causal" if base.scenario.mask == "full" else "full")


def _seeds(base: Base) -> Sides:
    seed = base.scenario.seed
    return base.side.but(seed=seed), base.side.but(seed=seed + 1 if seed < 2**32 - 1 else 0)


def _modes(base: Base) -> Sides:
    train = base.side.but(training=True)
    return base.side.but(training=False), train if base.scenario.dropout else train.but(dropout=DROPOUT)


def _heads(base: Base) -> Sides:
    return base.side.but(head=0), base.side.but(head=1)


def _layers(base: Base) -> Sides:
    """Compare the first and the last layer; of a decoder its last self-attention, which has the first one's shape."""
    s, side, last = base.scenario, base.side, max(1, base.layers - 1)
    if base.of == EXPLORE:
        if s.stack == ATTENTION:
            side = side.but(stack="encoder")
        last = max(1, s.num_layers - 1) * (2 if s.stack == DECODER else 1)
    return side.but(layer=0), side.but(layer=last)


def _items(base: Base) -> Sides:
    side = base.side
    if base.of == EXPLORE and base.items < 2:
        wanted = {
            "source": "text",
            "text": TEXTS,
            "key_text": "",
            "batch_size": None,
            "query_len": None,
            "key_len": None,
        }
        side = side.but(**{name: v for name, v in wanted.items() if v != getattr(base.scenario, name)})
    return side.but(item=0), side.but(item=1)


def _file(base: Base) -> Sides:
    return Side(), Side(Place(of=FILE))


def _model(base: Base) -> Sides:
    return Side(), Side(Place(of=MODEL))


def _files(base: Base) -> Sides:
    return Side(Place(of=FILE)), Side(Place(of=FILE), {"run_file": ""})


OF_EXPLORE: dict[str, Callable[[Base], Sides]] = {
    "two masks": _masks,
    "two seeds": _seeds,
    "eval and train mode": _modes,
}
OF_ANY: dict[str, Callable[[Base], Sides]] = {
    "two heads": _heads,
    "two layers": _layers,
    "two batch items": _items,
}
OF_OTHERS: dict[str, Callable[[Base], Sides]] = {
    "Explore and the run file": _file,
    "Explore and the pretrained model": _model,
    "two run files": _files,
}


def pairs(base: Base) -> dict[str, Pair]:
    """Return what can be compared, by name."""
    made = {**(OF_EXPLORE if base.of == EXPLORE else {}), **OF_ANY, **OF_OTHERS}
    return {name: Pair(*(str(side) for side in make(base))) for name, make in made.items()}
