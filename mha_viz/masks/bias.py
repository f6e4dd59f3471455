"""Score biases: numbers added to the scores before the softmax, written in the language of the masks.

A bias may use what a mask may, and also `/`, `**`, fractions and the names in `BIASES`: `-0.5 * abs(q - k)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor

from mha_viz.masks.evaluation import FloatEvaluator, Grid
from mha_viz.masks.index import H, Index, NamedIndex, h, k, q
from mha_viz.masks.printing import FloatTorchPrinter
from mha_viz.masks.registry import Pattern, Within, registrar
from mha_viz.masks.text import read_index

BIASES: dict[str, Pattern[Index]] = {}
bias_pattern = registrar(BIASES, NamedIndex)


@bias_pattern(example="alibi")
def alibi(scale: Annotated[float, Within(0, 1000, "multiplies every slope")] = 1.0) -> Index:
    """Attention with linear biases: -|q - k| times a slope for each head (Press et al. 2022).

    The slope of head h is 2**(-8 * (h + 1) / H), the formula of the paper for H a power of two, used here for any H.
    Two-sided, as in encoders; with a causal mask only the past is left and it is the paper's.
    """
    return -scale * abs(q - k) * 2 ** (-8 * (h + 1) / H)


@dataclass(frozen=True)
class ScoreBias:
    """A number for each (b, h, q, k), to be added to the score of query q and key k.

    It is computed in float64. Division by zero and overflow give inf or NaN, which are passed on and not hidden.
    """

    expression: Index

    def __str__(self) -> str:
        return str(self.expression)

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, ScoreBias) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.expression)

    @property
    def variables(self) -> frozenset[str]:
        """The names out of b, h, q, k, N, H, L, S that occur once named patterns are spelt out."""
        return self.expression.variables

    def values(
        self,
        query_len: int,
        key_len: int | None = None,
        *,
        batch_size: int = 1,
        num_heads: int = 1,
        rows: slice | None = None,
        cols: slice | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Compute the bias, on the CPU where the device has no float64.

        Args:
            query_len: L, from 1 to 2**24.
            key_len: S, the same as L if None.
            batch_size: N.
            num_heads: H.
            rows: The queries wanted, all if None; the sizes N, H, L, S keep their full values.
            cols: The keys wanted, all if None.
            device: Where the result lies.
            dtype: A floating type for the result.

        Returns:
            A contiguous tensor, [L, S] if the bias mentions neither b nor h, else [H, L, S] (h only),
            [N, 1, L, S] (b only) or [N, H, L, S]; all broadcast to [N, H, L, S].

        Raises:
            MaskError: A size is out of bounds.
        """
        grid = Grid(
            query_len=query_len,
            key_len=key_len,
            batch_size=batch_size,
            num_heads=num_heads,
            rows=rows,
            cols=cols,
            device="cpu" if torch.device(device).type == "mps" else device,
        )
        result = torch.as_tensor(self.expression.fold(FloatEvaluator(grid.values(), grid.device)))
        return grid.materialise(result.to(dtype), self.variables).to(device)

    def code(self) -> str:
        """Return torch code for this bias as one Python expression that needs only `torch`.

        It reads int64 tensors b, h, q, k that broadcast together and ints N, H, L, S, and gives a float64 tensor that
        broadcasts to the shape of `values`.
        """
        return FloatTorchPrinter.tensor(self.expression.fold(FloatTorchPrinter())).text


@lru_cache(maxsize=256)
def _score_bias(text: str) -> ScoreBias:
    return ScoreBias(read_index(text, BIASES))


def score_bias(text: str | ScoreBias) -> ScoreBias:
    """Read a score bias; one that is already read comes back as it is.

    Args:
        text: Such as `alibi`, `alibi(0.5)` or `-0.1 * abs(q - k)`, at most 4,000 characters.

    Raises:
        MaskError: The text cannot be read; its `position` says where.
    """
    return text if isinstance(text, ScoreBias) else _score_bias(text)
