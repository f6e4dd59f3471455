r"""The steps inside a layer as LaTeX: in letters for each stage, and with the numbers in it for one cell."""

from __future__ import annotations

import math

from torch import Tensor

from mha_viz.attention.cell import Cell
from mha_viz.attention.ingredients import Ingredients

TERMS = 3
"""How many terms of a dot product are written out."""


def of_stages(given: Ingredients) -> dict[str, str]:
    """Return how each stage comes about, by its name."""
    layer = given.call.module
    product = rf"\frac{{Q_h K_h^\top}}{{{_divisor(given.temperature)}}}"
    off = "".join(rf",\quad O_{{{head}}} = 0" for head in given.off)
    return {
        "query": "X_q",
        "key": _input(given, "k"),
        "value": _input(given, "v"),
        **{letter: _projection(given, letter) for letter in "qkv"},
        **{f"{x}_heads": rf"{x.upper()}_h = {x.upper()}_{{:,\; hD : (h+1)D}}" for x in "qkv"},
        "scores": r"Q_h K_h^\top",
        "scaled": product,
        "masked": rf"S_h = {product}" + (r"\quad \text{(no mask)}" if given.mask is None else " + M"),
        "softmax": r"P_{h,ij} = \frac{e^{S_{h,ij}}}{\sum_{j'} e^{S_{h,ij'}}}",
        "weights": r"A_h = P_h" + (r"\quad \text{(no dropout)}" if given.factor is None else r" \odot \text{dropout}"),
        "heads": rf"O_h = A_h V_h{off}",
        "concatenated": r"O = \left[O_0 \; \cdots \; O_{H-1}\right]",
        "output": r"Y = O W_o^\top" + (" + b_o" if layer.out_proj.bias is not None else ""),
    }


def of_cell(cell: Cell) -> str:
    """Return the arithmetic of one weight, line by line from q · k on, with its numbers to 3 digits."""
    shifted = rf"{number(cell.score)} - {_bracketed(cell.largest)}"
    lines = [
        ("q \\cdot k", rf"{_products(cell.q, cell.k)} = {number(cell.dot)}"),
        (
            r"\text{score}",
            rf"\frac{{{number(cell.dot)}}}{{{_divisor(cell.temperature, cell.q.numel())}}} + {_bracketed(cell.added)} "
            rf"= {number(cell.score)}",
        ),
        (
            r"\text{softmax}",
            rf"\frac{{e^{{{shifted}}}}}{{\sum_j e^{{s_j - {_bracketed(cell.largest)}}}}} "
            rf"= \frac{{{number(cell.exponential)}}}{{{number(cell.denominator)}}} = {number(cell.softmax)}",
        ),
    ]
    if cell.factor is not None:
        lines.append((r"\text{weight}", rf"{number(cell.softmax)} \cdot {number(cell.factor)} = {number(cell.weight)}"))
    return r"\begin{aligned} " + r" \\ ".join(f"{name} &= {line}" for name, line in lines) + r" \end{aligned}"


def number(value: float) -> str:
    r"""Return a number with 3 significant digits, such as `1.23`, `-4.5 \times 10^{-6}` or `-\infty`."""
    if math.isnan(value):
        return r"\text{NaN}"
    if math.isinf(value):
        return r"-\infty" if value < 0 else r"\infty"
    mantissa, _, exponent = f"{value:.3g}".partition("e")
    return rf"{mantissa} \times 10^{{{int(exponent)}}}" if exponent else mantissa


def _bracketed(value: float) -> str:
    return f"({number(value)})" if math.copysign(1, value) < 0 else number(value)


def _products(q: Tensor, k: Tensor) -> str:
    terms = [rf"{_bracketed(a)} \cdot {_bracketed(b)}" for a, b in zip(q[:TERMS].tolist(), k.tolist(), strict=False)]
    return " + ".join([*terms, *[r"\cdots"] * (len(q) > TERMS)])


def _divisor(temperature: float, dim: int | None = None) -> str:
    root = rf"\sqrt{{{'D' if dim is None else dim}}}"
    return root if temperature == 1 else rf"{root} \cdot {number(temperature)}"


def _input(given: Ingredients, letter: str) -> str:
    """Return the letter of the key or the value, and which other input is the same tensor."""
    call = given.call
    own, others = (call.key, {"q": call.query}) if letter == "k" else (call.value, {"q": call.query, "k": call.key})
    same = next((f" = X_{name}" for name, other in others.items() if other is own), "")
    return f"X_{letter}{same}"


def _projection(given: Ingredients, letter: str) -> str:
    layer = given.call.module
    bias = f" + b_{letter}" if layer.in_proj_bias is not None else ""
    line = rf"X_{letter} W_{letter}^\top{bias}"
    extra = [rf"b^{{\text{{extra}}}}_{letter}"] * (layer.bias_k is not None) + ["0"] * layer.add_zero_attn
    if letter == "q" or not extra:
        return f"{letter.upper()} = {line}"
    rows = r" \\ ".join([line, *extra])
    return rf"{letter.upper()} = \begin{{bmatrix}} {rows} \end{{bmatrix}}"
