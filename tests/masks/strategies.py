"""Random masks and score biases of the language, as nodes."""

from __future__ import annotations

from hypothesis import strategies as st

from mha_viz.masks import BIASES, PATTERNS, Mask, Pattern, ScoreBias
from mha_viz.masks.base import Comparison, Expression
from mha_viz.masks.index import Arithmetic, Function, Index, Number, Variable

variables = st.sampled_from("bhqkNHLS").map(Variable)
SYMBOLS = ["<", "<=", "==", "!=", ">=", ">"]


def named(patterns: dict[str, Pattern]) -> st.SearchStrategy[Expression]:
    """Any pattern of a registry with arguments in its bounds, as many of them as it takes or fewer."""
    return st.sampled_from(sorted(patterns)).flatmap(lambda name: _calls(patterns[name]))


runs = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 3)).map(lambda r: (r[0], r[1], r[1] + r[2]))


def _calls(pattern: Pattern) -> st.SearchStrategy[Expression]:
    if pattern.name == "cells":
        return st.lists(runs, min_size=1, max_size=4).map(lambda some: pattern(*sum(some, ())))
    values = [
        st.integers(p.low, min(p.high, 9)) if p.kind is int else st.floats(p.low, p.high) for p in pattern.parameters
    ]
    if values and pattern.parameters[-1].repeats:
        return st.lists(values[0], min_size=1, max_size=4).map(lambda arguments: pattern(*arguments))
    return st.tuples(*values).flatmap(
        lambda arguments: st.integers(0, len(arguments)).map(lambda given: pattern(*arguments[:given]))
    )


def _numbers(leaves: st.SearchStrategy[Index], symbols: list[str], divisors: st.SearchStrategy[Index]):
    def grow(inner: st.SearchStrategy[Index]) -> st.SearchStrategy[Index]:
        return st.one_of(
            st.builds(Arithmetic, st.sampled_from(symbols), inner, inner),
            st.builds(Arithmetic, st.sampled_from(["//", "%"]), inner, divisors),
            inner.map(lambda x: -x),
            inner.map(abs),
            st.builds(Function, st.sampled_from(["min", "max"]), st.lists(inner, min_size=2, max_size=3).map(tuple)),
        )

    return st.recursive(leaves, grow, max_leaves=5)


literals = st.integers(-9, 9).map(Number)
nonzero = st.integers(-9, 9).filter(bool).map(Number)
# At most five leaves below 2**24 and one product at each joint: far from 2**63 only where few are multiplied.
whole_numbers = _numbers(variables | literals, ["+", "-"], nonzero | st.sampled_from("NHLS").map(Variable))
products = st.builds(Arithmetic, st.just("*"), whole_numbers, literals) | whole_numbers


@st.composite
def comparisons(draw: st.DrawFn) -> Mask:
    operands = draw(st.lists(products, min_size=2, max_size=3))
    symbols = draw(st.lists(st.sampled_from(SYMBOLS), min_size=len(operands) - 1, max_size=len(operands) - 1))
    return Comparison(tuple(symbols), tuple(operands))


def _combined(inner: st.SearchStrategy[Mask]) -> st.SearchStrategy[Mask]:
    return st.one_of(
        st.tuples(inner, inner).map(lambda pair: pair[0] & pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1]),
        st.tuples(inner, inner).map(lambda pair: pair[0] ^ pair[1]),
        inner.map(lambda mask: ~mask),
    )


masks = st.recursive(comparisons() | named(PATTERNS), _combined, max_leaves=6)

fractions = st.floats(-4, 4).map(Number) | literals
biases = _numbers(variables | fractions | named(BIASES), ["+", "-", "*", "/", "**"], variables | fractions).map(
    ScoreBias
)

sizes = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 3),
        "num_heads": st.integers(1, 3),
        "query_len": st.integers(1, 6),
        "key_len": st.integers(1, 6),
    }
)
