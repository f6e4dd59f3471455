"""The table of execution paths: outputs against the reference, in numbers and in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# What rounding may do to outputs of the order of 1; paths differ by much less, or by much more.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True, eq=False)
class Observed:
    """What one path did: the output [N, L, E], or the error with which it refused."""

    name: str
    context: str
    kernel: str
    output: Tensor | None
    error: str


@dataclass(frozen=True)
class PathRow:
    """One path against the reference.

    Attributes:
        name: The path, such as `need_weights=False, eval, no_grad`.
        kernel: What torch ran: softmax, safe softmax, fused, fast path or FlexAttention; empty if it refused.
        max_difference: Largest difference of any number of the output to the reference, over the rows that are NaN in
            neither; None if the path refused.
        nan_rows: How many (batch, query) rows of the output hold a NaN; None if the path refused.
        same: Whether it gives the reference's output, up to rounding and with the same NaN rows.
        words: What there is to say of it.
        differing: The rows (batch, query) that differ from the reference.
        error: The type and first line of the error with which it refused, else empty.
    """

    name: str
    kernel: str
    max_difference: float | None
    nan_rows: int | None
    same: bool
    words: str
    differing: tuple[tuple[int, int], ...] = ()
    error: str = ""


@dataclass(frozen=True)
class PathTable:
    """The paths of one layer for the same inputs.

    Attributes:
        rows: One for each path.
        reference: The row that the others are compared with; empty if all refused.
        shown: The row whose weights the heatmaps show.
        encoder: The rows that `nn.TransformerEncoderLayer` takes in train mode, and in eval mode without gradients.
    """

    rows: tuple[PathRow, ...]
    reference: str
    shown: str
    encoder: tuple[str, str]

    def __getitem__(self, name: str) -> PathRow:
        return next(row for row in self.rows if row.name == name)

    @property
    def same(self) -> bool:
        """Whether all paths give the same output."""
        return all(row.same for row in self.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """Which path is which, one sentence each."""
        train, inference = self.encoder
        compared = f"Compared with: {self.reference}." if self.reference else "No path took these inputs."
        return (
            compared,
            f"The heatmap shows: {self.shown}.",
            f"nn.TransformerEncoderLayer takes: {train}; in eval mode without gradients: {inference}.",
        )

    def __str__(self) -> str:
        head = ("path", "kernel", "max |Δ|", "NaN rows", "in words")
        lines = [head, *[(row.name, row.kernel, *_numbers(row), row.words) for row in self.rows]]
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        text = ["  ".join([*map(str.ljust, line[:4], widths), line[4]]).rstrip() for line in lines]
        return "\n".join([*text, "", *self.notes])


def table(
    observed: Sequence[Observed],
    *,
    preferred: Sequence[str],
    expected: Mapping[str, Tensor],
    bias: Tensor | None,
    dropout: Collection[str],
    shown: str,
    encoder: tuple[str, str],
) -> PathTable:
    """Compare what the paths did.

    Args:
        observed: One for each path.
        preferred: Which paths are to be the reference, the first of them that did not refuse; else any.
        expected: What the output is if the layer heeds "both" mask and hint, the "mask" alone, the "hint" alone;
            empty without the hint.
        bias: Of the output projection: the output of a row that attends to nothing.
        dropout: The paths in which dropout is active.
        shown: See `PathTable`.
        encoder: See `PathTable`.
    """
    by_name = {one.name: one for one in observed}
    order = [*[by_name[name] for name in preferred], *observed]
    reference = next((one for one in order if one.output is not None), None)
    rows = [_row(one, reference, expected, bias, one.name in dropout) for one in observed]
    return PathTable(tuple(rows), reference.name if reference else "", shown, encoder)


def _numbers(row: PathRow) -> tuple[str, str]:
    if row.max_difference is None:
        return "-", "-"
    return f"{row.max_difference:.2g}", str(row.nan_rows)


def _row(
    one: Observed, reference: Observed | None, expected: Mapping[str, Tensor], bias: Tensor | None, dropout: bool
) -> PathRow:
    if one.output is None or reference is None or reference.output is None:
        return PathRow(one.name, "", None, None, False, f"refuses: {one.error}", error=one.error)
    output, base = one.output, reference.output
    differing = _differing(output, base)
    numbers = (output - base)[~_nan(output) & ~_nan(base)]
    said = [
        *_about_hint(one, expected),
        *_about_nan(output, base, bias, one is reference),
        *_about_dropout(dropout and bool(differing.any())),
    ]
    if one is reference:
        said = ["the reference", *said]
    elif not said:
        said = [_about_rows(differing)]
    return PathRow(
        name=one.name,
        kernel=one.kernel,
        max_difference=float(numbers.abs().max()) if numbers.numel() else 0.0,
        nan_rows=int(_nan(output).sum()),
        same=not differing.any(),
        words="; ".join(said),
        differing=tuple((n, q) for n, q in differing.nonzero().tolist()),
    )


def _nan(output: Tensor) -> Tensor:
    """Return [N, L]: the rows that hold a NaN."""
    return output.isnan().any(-1)


def _differing(output: Tensor, base: Tensor) -> Tensor:
    """Return [N, L]: the rows in which two outputs differ by more than rounding, or in being NaN."""
    scale = max(1.0, float(base.nan_to_num(0, 0, 0).abs().max()))
    apart = (output - base).abs().amax(-1).nan_to_num(0.0) > TOLERANCE[output.dtype] * scale
    both = _nan(output) & _nan(base)
    return (apart & ~both) | (_nan(output) != _nan(base))


def _agree(output: Tensor, other: Tensor) -> bool:
    """Say whether two outputs agree wherever neither is NaN."""
    return not (_differing(output, other) & ~_nan(output) & ~_nan(other)).any()


def _about_hint(one: Observed, expected: Mapping[str, Tensor]) -> list[str]:
    if not expected or one.output is None or _agree(expected["both"], expected["mask"]):
        return []
    subject = f"{one.context} this layer " if one.context else ""
    if _agree(one.output, expected["mask"]):
        return [f"{subject}ignores is_causal and attends to the future"]
    if _agree(one.output, expected["both"]):
        return [f"{subject}follows is_causal"]
    return [f"{subject}follows is_causal and ignores attn_mask"] if _agree(one.output, expected["hint"]) else []


def _about_nan(output: Tensor, base: Tensor, bias: Tensor | None, is_reference: bool) -> list[str]:
    own, other = _nan(output), _nan(base)
    if is_reference:
        return [f"{_rows(own)} NaN: every key is hidden, or the input is NaN"] if own.any() else []
    said = []
    if (gone := other & ~own).any():
        nothing = torch.zeros_like(output[gone]) if bias is None else bias.detach().expand_as(output[gone])
        what = "0" if bias is None else "out_proj.bias (0 before the output projection)"
        attends = torch.allclose(output[gone], nothing, atol=TOLERANCE[output.dtype], rtol=0)
        said.append(f"{_rows(gone)} {what if attends else 'a number'} where the reference has NaN")
    if (new := own & ~other).any():
        said.append(f"{_rows(new)} NaN where the reference has numbers")
    return said


def _about_dropout(active: bool) -> list[str]:
    return ["dropout is active, so that its numbers are random"] if active else []


def _about_rows(differing: Tensor) -> str:
    if not differing.any():
        return "the same"
    first = "batch {}, query {}".format(*differing.nonzero()[0].tolist())
    return f"{int(differing.sum())} of {differing.numel()} rows differ, the first is {first}"


def _rows(which: Tensor) -> str:
    count = int(which.sum())
    first = "batch {}, query {}".format(*which.nonzero()[0].tolist())
    return f"1 row ({first}) is" if count == 1 else f"{count} rows (the first is {first}) are"
